from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from convert.caffe import network, weights
from convert.caffe.network import CaffeError


class Model(Protocol):
    prototxt: Path
    caffemodel: Path


Write = Callable[[str], Path]

TRAIN_VAL = """\
name: "train_val"
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 12 mirror: true }
}
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 10 }
}
layer { name: "silent" type: "Silence" bottom: "label" include { phase: TEST } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "x" }
layer { name: "drop" type: "Dropout" bottom: "x" top: "x" include { stage: "full" } }
layer { name: "acc" type: "Accuracy" bottom: "x" bottom: "label" top: "a" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" top: "loss" }
"""


def test_a_network_is_read_whole(small: Model) -> None:
    net = network.load(small.prototxt, small.caffemodel)
    assert net.name == "small"
    assert net.inputs == {"data": (1, 3, 8, 8)}
    assert net.outputs == ("prob",)
    assert net.warnings == ()
    assert net.training_layers == ()
    assert [(layer.name, layer.type, layer.line) for layer in net.layers] == [
        ("conv", "Convolution", 4),
        ("conv/bn", "BatchNorm", 11),
        ("conv/scale", "Scale", 18),
        ("conv/relu", "ReLU", 25),
        ("fc", "InnerProduct", 26),
        ("prob", "Softmax", 33),
    ]
    assert [layer.bottoms + layer.tops for layer in net.layers] == [
        ("data", "conv@conv"),
        ("conv@conv", "conv@conv/bn"),
        ("conv@conv/bn", "conv@conv/scale"),
        ("conv@conv/scale", "conv"),
        ("conv", "fc"),
        ("fc", "prob"),
    ]
    assert [len(layer.blobs) for layer in net.layers] == [2, 3, 2, 0, 2, 0]
    assert net.layers[0].parameter.convolution_param.num_output == 4


def test_without_weights_the_layers_have_no_blobs(small: Model) -> None:
    net = network.load(small.prototxt, None)
    assert [layer.blobs for layer in net.layers] == [()] * 6


@pytest.mark.parametrize(("size", "shape"), [(16, (1, 3, 16, 16)), ((16, 32), (1, 3, 16, 32))])
def test_an_input_size_replaces_the_prototxts(
    small: Model, size: int | tuple[int, int], shape: tuple[int, ...]
) -> None:
    assert network.load(small.prototxt, None, input_size=size).inputs == {"data": shape}


def test_an_input_layer_is_an_input(prototxt_file: Write) -> None:
    path = prototxt_file(
        'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 4] } } }'
        '\nlayer { name: "r" type: "ReLU" bottom: "data" top: "x" }'
    )
    net = network.load(path, None)
    assert net.inputs == {"data": (1, 3, 4, 4)}
    assert [layer.name for layer in net.layers] == ["r"]
    assert net.training_layers == ()


def test_a_test_phase_has_the_image_as_input_and_no_metrics(prototxt_file: Write) -> None:
    net = network.load(prototxt_file(TRAIN_VAL), None)
    assert net.inputs == {"data": (1, 3, 10, 10)}
    assert [layer.name for layer in net.layers] == ["relu"]
    assert net.outputs == ("x",)
    assert [layer.name for layer in net.training_layers] == ["data", "silent", "acc", "loss"]
    (warning,) = net.warnings
    assert "because of their stage: drop; --stage full includes them" in str(warning)


def test_a_train_phase_has_its_own_data_and_stages(prototxt_file: Write) -> None:
    net = network.load(prototxt_file(TRAIN_VAL), None, phase="TRAIN", stages=["full"])
    assert net.inputs == {"data": (1, 3, 12, 12)}
    assert [layer.name for layer in net.layers] == ["relu", "drop"]
    assert [layer.name for layer in net.training_layers] == ["data", "loss"]
    assert net.training_layers[0].parameter.transform_param.mirror
    assert net.training_layers[1].bottoms == ("x", "label")


def test_the_state_written_in_the_net_counts(prototxt_file: Write) -> None:
    net = network.load(prototxt_file(TRAIN_VAL + 'state { stage: "full" }'), None)
    assert [layer.name for layer in net.layers] == ["relu", "drop"]


def test_levels_select_layers(prototxt_file: Write) -> None:
    path = prototxt_file(TRAIN_VAL.replace('stage: "full"', "min_level: 2"))
    assert len(network.load(path, None).layers) == 1
    assert len(network.load(path, None, level=2).layers) == 2


def test_a_label_that_a_kept_layer_needs_is_a_problem(prototxt_file: Write) -> None:
    text = TRAIN_VAL + 'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "label" top: "y" }'
    with pytest.raises(CaffeError, match="layer e: bottom label exists only in training"):
        network.load(prototxt_file(text), None)


def test_unknown_fields_and_extra_weights_are_warnings(small: Model) -> None:
    text = small.prototxt.read_text().replace('type: "Softmax"', 'type: "Softmax" turbo: 1')
    small.prototxt.write_text(text)
    blobs = {**weights.read(small.caffemodel), "old": (np.zeros(1, np.float32),)}
    weights.write(small.caffemodel, "small", blobs)
    net = network.load(small.prototxt, small.caffemodel)
    assert [str(warning) for warning in net.warnings] == [
        "line 33, column 38: unknown field layer.turbo is ignored",
        "the weights of 1 layers are not used, because the prototxt has no such layers: old",
    ]


def test_all_problems_of_both_files_are_reported_at_once(small: Model) -> None:
    text = small.prototxt.read_text().replace('bottom: "fc"', 'bottom: "fcx"')
    text += 'layer { name: "twice" type: "ReLU" bottom: "data" top: "conv" }\n'
    text += 'layer { name: "none" bottom: "data" top: "z" }\n'
    text += 'layer { name: "both" type: "ReLU" include { } exclude { } }\n'
    small.prototxt.write_text(text)
    with pytest.raises(CaffeError) as caught:
        network.load(small.prototxt, small.caffemodel)
    assert str(caught.value).splitlines()[0] == f"{small.prototxt}: 4 problems:"
    assert {str(problem) for problem in caught.value.diagnostics} == {
        "line 36, layer both: has include and exclude rules; Caffe accepts only one kind",
        "line 35, layer none: has no type",
        "line 33, layer prob: nothing makes bottom fcx; did you mean fc?",
        "line 34, layer twice: top conv is already made by layer conv; rename one",
    }


def test_a_damaged_weights_file_does_not_hide_the_prototxts_problems(small: Model) -> None:
    small.prototxt.write_text(small.prototxt.read_text().replace('bottom: "fc"', 'bottom: "fcx"'))
    small.caffemodel.write_bytes(small.caffemodel.read_bytes()[:-3])
    with pytest.raises(CaffeError) as caught:
        network.load(small.prototxt, small.caffemodel)
    first, second = map(str, caught.value.diagnostics)
    assert "did you mean fc" in first
    assert "truncated" in second
    assert str(small.caffemodel) in second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "n"', "it has no layers"),
        ('base_lr: 0.1\ntrain_net: "t"\ndebug_info: false', "this is a solver"),
        ("base_lr: 0.1", "not a prototxt"),
        ('layer { name: "d" type: "Data" top: "data" }', "layer d: .* give the input size"),
        ('layer { name: "r" type: "ReLU" bottom: "data" top: "x" }', "nothing makes bottom data"),
    ],
)
def test_a_prototxt_without_a_network_is_an_error_of_one_line(
    prototxt_file: Write, text: str, message: str
) -> None:
    with pytest.raises(CaffeError, match=message) as caught:
        network.load(prototxt_file(text), None)
    assert len(str(caught.value).splitlines()) == 1


def test_an_impossible_size_is_a_problem(small: Model) -> None:
    with pytest.raises(CaffeError, match="input size 0×0"):
        network.load(small.prototxt, None, input_size=0)


def test_files_in_the_wrong_order_are_an_error(small: Model) -> None:
    with pytest.raises(CaffeError, match="The prototxt comes first"):
        network.load(small.caffemodel, small.prototxt)


def test_inputs_and_tops_of_one_name_are_a_problem(prototxt_file: Write) -> None:
    path = prototxt_file(
        'input: "data" input_dim: [1, 3, 4, 4]\n'
        'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: [1, 3, 4, 4] } } }'
    )
    with pytest.raises(CaffeError, match="line 2, layer i: top data is already an input"):
        network.load(path, None)


UPSTREAM = {
    "imagenet-mod11e": ("prob", 224, 211),
    "sfd-320-mod5-nobn": ("detection_out", 320, 160),
    "sfd-320-mod5-bn": ("detection_out", 320, 282),
    "sfd-320-mod11l": ("detection_out", 320, 286),
    "sfd-320-mod11e": ("detection_out", 320, 286),
    "sfd-320-mod11g": ("detection_out", 320, 286),
}


@pytest.mark.parametrize("name", UPSTREAM)
def test_real_models_load_with_no_warning(shared: Path, name: str) -> None:
    folder = shared / "models/upstream" / name
    output, side, layers = UPSTREAM[name]
    net = network.load(folder / "deploy.prototxt", folder / "weights.caffemodel")
    assert net.inputs == {"data": (1, 3, side, side)}
    assert net.outputs == (output,)
    assert len(net.layers) == layers
    assert net.warnings == ()
    made = [top for layer in net.layers for top in layer.tops]
    assert len(made) == len(set(made))
    lines = (folder / "deploy.prototxt").read_text().splitlines()
    for layer in net.layers:
        assert lines[layer.line - 1].startswith("layer")
    bigger = network.load(folder / "deploy.prototxt", None, input_size=640)
    assert bigger.inputs == {"data": (1, 3, 640, 640)}


def test_the_reference_nets_agree_with_each_other_and_the_first_weights(shared: Path) -> None:
    folder = shared / "models/reference/sfd-640-mod2"
    (model,) = (shared / "models/first-weights").glob("*.caffemodel")
    deploy = network.load(folder / "deploy.prototxt", model)
    test = network.load(folder / "test.prototxt", model)
    train = network.load(folder / "train.prototxt", model, phase="TRAIN")
    assert deploy.inputs == test.inputs == train.inputs == {"data": (1, 3, 640, 640)}
    assert deploy.outputs == test.outputs == ("detection_out",)
    assert train.outputs == ("mbox_loc_", "mbox_conf_", "mbox_priorbox")
    assert [layer.type for layer in test.training_layers] == ["AnnotatedData", "DetectionEvaluate"]
    assert [layer.type for layer in train.training_layers] == ["AnnotatedData", "MultiBoxLoss"]
    names = [layer.name for layer in deploy.layers]
    assert [layer.name for layer in train.layers] == names[: len(train.layers)]
