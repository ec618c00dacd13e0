"""Which layer types have a formula in NumPy."""

import ast
from pathlib import Path

import pytest

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.layers.registry import handlers
from convert.verify import reference
from convert.verify.reference.registry import formula, formulas

OPENCV_LACKS = {
    "BN", "CTCGreedyDecoder", "Convolution3D", "DummyData", "FlowWarp", "LSTM", "Local", "Lstm",
    "PSROIPooling", "Parameter", "Proposal", "RNN", "ROIAlign", "ROIPooling", "Unpooling",
}  # fmt: skip


def test_every_layer_that_opencv_lacks_has_a_formula() -> None:
    """Other types may have one; without it only OpenCV verifies them."""
    assert set(formulas()) >= OPENCV_LACKS


def test_every_formula_is_of_a_layer_that_is_converted() -> None:
    assert set(formulas()) <= {name for name, known in handlers().items() if not known.refuses}


def test_a_type_has_one_formula() -> None:
    with pytest.raises(ValueError, match="ReLU has two formulas"):
        formula("ReLU")(lambda layer, bottoms: bottoms[0])


def test_formulas_name_their_source_or_say_the_formula() -> None:
    assert all(known.compute.__doc__ for known in formulas().values())


def layer(kind: str, *tops: str) -> Layer:
    return Layer("x", kind, 1, ("c",), tops, caffe_pb2.LayerParameter())


@pytest.mark.parametrize(
    "kind", ["ArgMax", "CTCGreedyDecoder", "Proposal", "ROIPooling", "Threshold"]
)
def test_a_layer_whose_result_jumps_is_marked(kind: str) -> None:
    assert formulas()[kind].jumps(layer(kind, "x"))


@pytest.mark.parametrize("kind", ["Convolution", "Pooling", "ReLU", "Softmax"])
def test_other_layers_are_not_marked(kind: str) -> None:
    assert not formulas()[kind].jumps(layer(kind, "x"))


def test_a_pooling_jumps_where_it_gives_the_places_of_its_maxima() -> None:
    assert formulas()["Pooling"].jumps(layer("Pooling", "x", "places"))


def test_formulas_use_neither_onnx_nor_the_handlers() -> None:
    for path in Path(reference.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
            if name
        }
        assert "numpy" in names or path.stem in ("__init__", "registry")
        wrong = ("onnx", "convert.layers", "convert.graph", "convert.outputs", "geometry.priors")
        assert not [name for name in names if name.startswith(wrong)], path
