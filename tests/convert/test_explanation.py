"""`sfd convert --explain`: the network as Caffe sees it, and what becomes of each layer."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from convert.conversion import explain_file
from convert.options import Options
from sfd.cli import run_command
from tests.convert import networks


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]

NETWORK = """\
name: "each"
input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 10 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "drop" }
layer { name: "power" type: "Power" bottom: "drop" top: "power" power_param { scale: 2 shift: 1 } }
layer { name: "bias" type: "Bias" bottom: "power" top: "bias" }
layer { name: "fc" type: "InnerProduct" bottom: "bias" top: "fc"
        inner_product_param { num_output: 5 } }
layer { name: "unused" type: "Slice" bottom: "fc" top: "one" top: "two" }
layer { name: "quiet" type: "Silence" bottom: "two" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "one" bottom: "label" top: "loss" }
layer { name: "prob" type: "Softmax" bottom: "one" top: "prob" }
"""


def fates(path: Path, *, merge: bool = True) -> dict[str, str]:
    layers = explain_file(path, None, Options(merge=merge)).layers
    return {layer.name: layer.fate for layer in layers}


def write(folder: Path, text: str) -> Path:
    path = folder / "deploy.prototxt"
    path.write_text(text)
    return path


def test_each_layer_has_its_result_shape_and_costs(tmp_path: Path) -> None:
    text = NETWORK.replace("num_output: 5", "num_output: 6")
    explanation = explain_file(write(tmp_path, text), None, Options())
    assert explanation.problems == ()
    found = {
        layer.name: (layer.shapes, layer.parameters, layer.macs, layer.fate)
        for layer in explanation.layers
    }
    image = ("batch", 4, 8, 10)
    assert found == {
        "conv": ((image,), 4 * 27 + 4, 4 * 27 * 80, "Conv"),
        "bn": ((image,), 9, 0, "folded into conv"),
        "scale": ((image,), 8, 0, "folded into conv"),
        "relu": ((image,), 0, 0, "Relu"),
        "drop": ((image,), 0, 0, "dropped: its result is its input"),
        "power": ((image,), 0, 0, "folded into bias"),
        "bias": ((image,), 4, 0, "Mul, Add"),
        "fc": ((("batch", 6),), 6 * 320 + 6, 6 * 320, "Reshape, Gemm"),
        "unused": ((("batch", 3), ("batch", 3)), 0, 0, "Slice"),
        "quiet": ((), 0, 0, "dropped: it has no result"),
        "prob": ((("batch", 3),), 0, 0, "Softmax"),
        "loss": ((), 0, 0, "dropped: serves only training and testing"),
    }
    assert "11 layers, 2,059 parameters, 10,560 MACs an image" in str(explanation)
    assert "It can be converted, with --output raw." in str(explanation)


def test_a_detector_is_explained_with_its_heads(tiny: Make) -> None:
    model = tiny()
    found = fates(model.prototxt)
    assert found["priors"] == "a constant"
    assert found["conv1/bn"] == found["conv1/scale"] == "folded into conv1"
    assert "Exp" in found["detection_out"]
    assert found["loc"] == found["conf"] == "Conv (merged with others)"
    assert fates(model.prototxt, merge=False)["loc"] == "Conv"
    with_weights = explain_file(model.prototxt, model.caffemodel, Options())
    assert {layer.name: layer.fate for layer in with_weights.layers} == found


def test_a_network_that_is_refused_is_explained_as_far_as_possible(tmp_path: Path) -> None:
    text = NETWORK.replace('"Power"', '"Pouwer"')
    explanation = explain_file(write(tmp_path, text), None, Options())
    found = {layer.name: layer.fate for layer in explanation.layers}
    assert found["conv"] == "Conv"
    assert found["power"].startswith("refused: layers of type Pouwer can't be converted; did you")
    assert found["fc"] == "not reached: a layer before it is refused"
    assert "It can't be converted: 1 problem\n  line 9, layer power: " in str(explanation)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in networks.small()])
def test_every_layer_of_known_architectures_is_explained(tmp_path: Path, text: str) -> None:
    explanation = explain_file(write(tmp_path, text), None, Options())
    assert not explanation.problems
    assert all(layer.fate and layer.shapes for layer in explanation.layers)
    convolutions = [each for each in explanation.layers if each.type == "Convolution"]
    assert all(each.macs > each.parameters - 2000 and "Conv" in each.fate for each in convolutions)


def test_vgg_16_has_its_published_costs(tmp_path: Path) -> None:
    explanation = explain_file(write(tmp_path, networks.vgg()), None, Options())
    assert sum(layer.parameters for layer in explanation.layers) == 138_357_544
    assert sum(layer.macs for layer in explanation.layers) == 15_470_264_320


def test_the_command_prints_it_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, NETWORK.replace("num_output: 5", "num_output: 6"))
    assert run_command("convert", [str(path), "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("each: 11 layers")
    assert "\nconv    Convolution      [batch, 4, 8, 10]" in said
    assert [each.name for each in tmp_path.iterdir()] == ["deploy.prototxt"]
    assert run_command("convert", [str(path), "--explain", "-o", str(tmp_path / "x.onnx")]) == 2
    assert "--explain writes no file" in capsys.readouterr().err


def test_weights_that_no_memory_holds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = 'layer { name: "p" type: "InnerProduct" bottom: "data" top: "p" PARAM }'
    dense = layer.replace("PARAM", "inner_product_param { num_output: 2000000000 }")
    path = write(tmp_path, f'input: "data" input_shape {{ dim: 1 dim: 3 }} {dense}')
    run_command("convert", [str(path), "--explain"])
    said = capsys.readouterr()
    assert "[2000000000, 3] are more than a blob of Caffe can hold" in said.out + said.err
    output = str(tmp_path / "out.onnx")
    assert run_command("convert", [str(path), "--simulate-weights", "1", "-o", output]) == 1
    said = capsys.readouterr()
    assert "more than a blob of Caffe can hold" in said.err


def test_a_prototxt_without_layers_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, 'name: "empty"\ninput: "data"\ninput_dim: 1\n')
    assert run_command("convert", [str(path), "--explain"]) == 0
    assert "It can't be converted: 1 problem\n  it has no layers\n" in capsys.readouterr().out


def test_an_input_without_a_size_is_one_problem(tmp_path: Path) -> None:
    text = (
        'name: "sizeless"\ninput: "data"\nlayer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    said = str(explain_file(write(tmp_path, text), None, Options()))
    assert "It can't be converted: 1 problem\n  line 2: the prototxt doesn't state" in said
