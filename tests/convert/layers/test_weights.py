"""Which layers need weights, by what their handlers say."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from convert.caffe import caffe_pb2, network, weights
from convert.caffe.network import Layer, Network
from convert.graph import GraphBuilder
from convert.layers.blobs import NO_WEIGHTS
from convert.layers.weights import needing_weights, repeated, unfilled
from convert.translate import TranslationError, build_graph

CONV = 'layer { name: "%s" type: "Convolution" bottom: "data" top: "%s" }\n'


def layers(text: str) -> tuple[Layer, ...]:
    parsed = text_format.Parse(text, caffe_pb2.NetParameter()).layer
    return tuple(
        Layer(each.name, each.type, line, tuple(each.bottom), tuple(each.top), each)
        for line, each in enumerate(parsed, start=1)
    )


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ('type: "Convolution"', True),
        ('type: "InnerProduct"', True),
        ('type: "Deconvolution"', True),
        ('type: "DepthwiseConvolution"', True),
        ('type: "DepthwiseConv"', True),
        ('type: "ConvolutionDW"', True),
        ('type: "BatchNorm"', True),
        ('type: "PReLU"', True),
        ('type: "Normalize"', True),
        ('type: "Scale" bottom: "x"', True),
        ('type: "Bias" bottom: "x"', True),
        ('type: "Scale" bottom: "x" bottom: "y"', False),
        ('type: "Bias" bottom: "x" bottom: "y"', False),
        ('type: "ReLU"', False),
        ('type: "Eltwise"', False),
        ('type: "Unheard"', False),
    ],
)
def test_only_types_with_parameters_need_weights(text: str, needed: bool) -> None:
    (layer,) = layers(f'layer {{ name: "a" {text} }}')
    assert needing_weights([layer]) == [layer] * needed
    assert unfilled([layer]) == ["a"] * needed


def test_every_layer_without_weights_is_reported() -> None:
    text = "".join(CONV % (name, name) for name in "abc").replace(
        'bottom: "data" top: "c"', 'bottom: "a" top: "c"'
    )
    with pytest.raises(TranslationError) as caught:
        build_graph(Network("n", {"data": (1, 3, 8, 8)}, layers(text)), GraphBuilder())
    told = [(problem.layer, problem.message) for problem in caught.value.diagnostics]
    assert ("c", NO_WEIGHTS) in told
    assert {name for name, _ in told} == {"a", "b", "c"}


def test_weighted_layers_of_one_name_are_a_problem() -> None:
    relu = 'layer { name: "a" type: "ReLU" bottom: "data" top: "r" }\n'
    found = layers(CONV % ("a", "x") + relu + CONV % ("a", "y"))
    expected = [
        "line 1, layer a: another layer has this name; rename one",
        "line 3, layer a: another layer has this name; rename one",
    ]
    assert [str(problem) for problem in repeated(found)] == expected
    with pytest.raises(TranslationError) as caught:
        build_graph(Network("n", {"data": (1, 3, 8, 8)}, found), GraphBuilder())
    assert [str(problem) for problem in caught.value.diagnostics][:2] == expected


def test_the_vgg_net_without_weights_names_every_layer_that_lacks_them(shared: Path) -> None:
    path = shared / "models/reference/sfd-640-vgg/deploy.prototxt"
    (model,) = (shared / "models/first-weights").glob("*.caffemodel")
    assert len(network.load(path, None).layers) == 95
    with pytest.raises(TranslationError) as caught:
        build_graph(network.load(path, model), GraphBuilder())
    assert all("no weights" in problem.message for problem in caught.value.diagnostics)
    assert len(caught.value.diagnostics) == 34


def test_the_default_net_without_weights_names_every_layer_that_lacks_them(
    built_model: Path, tmp_path: Path
) -> None:
    weights.write(tmp_path / "none.caffemodel", "empty", {})
    path = built_model.parent / "deploy.prototxt"
    with pytest.raises(TranslationError) as caught:
        build_graph(network.load(path, tmp_path / "none.caffemodel"), GraphBuilder())
    layers = text_format.Parse(path.read_text(), caffe_pb2.NetParameter()).layer
    lacking = {
        layer.name for layer in layers if layer.type in ("Convolution", "BatchNorm", "Scale")
    }
    assert len(lacking) > 100
    assert {name for name in lacking if f"layer {name}: " in str(caught.value)} == lacking
