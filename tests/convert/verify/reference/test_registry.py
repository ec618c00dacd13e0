"""Which layer types have a formula in NumPy."""

import pytest

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.layers.registry import handlers
from convert.verify.reference.registry import formula, formulas

WITHOUT = {
    "DetectionOutput": "convert.verify.detections computes it",
    "Input": "it computes nothing",
}


def test_every_layer_that_is_converted_has_a_formula() -> None:
    converted = {name for name, known in handlers().items() if not known.refuses}
    assert converted - set(formulas()) == set(WITHOUT)


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
