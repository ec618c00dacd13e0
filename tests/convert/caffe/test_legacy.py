from pathlib import Path

import cv2
import numpy as np
import pytest

from convert.caffe import legacy, network, prototxt, weights
from convert.caffe.caffe_pb2 import NetParameter, V1LayerParameter
from convert.caffe.network import CaffeError, Network

V2 = """\
name: "net"
input: "data"
input_shape { dim: 1 dim: 3 dim: 12 dim: 12 }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 }
}
layer {
  name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param { local_size: 3 alpha: 0.0001 beta: 0.75 }
}
layer {
  name: "fc" type: "InnerProduct" bottom: "norm1" top: "fc"
  inner_product_param { num_output: 5 }
}
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
V1 = """\
name: "net"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers {
  name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 }
}
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers {
  name: "pool1" type: POOLING bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 }
}
layers {
  name: "norm1" type: LRN bottom: "pool1" top: "norm1"
  lrn_param { local_size: 3 alpha: 0.0001 beta: 0.75 }
}
layers {
  name: "fc" type: INNER_PRODUCT bottom: "norm1" top: "fc"
  inner_product_param { num_output: 5 }
}
layers { name: "drop" type: DROPOUT bottom: "fc" top: "fc" dropout_param { dropout_ratio: 0.5 } }
layers { name: "prob" type: 20 bottom: "fc" top: "prob" }
"""
V0 = """\
name: "net"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 12 input_dim: 12
layers { layer { name: "pad1" type: "padding" pad: 1 } bottom: "data" top: "pad1" }
layers {
  layer {
    name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2
    blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers {
  layer { name: "pool1" type: "pool" pool: MAX kernelsize: 3 stride: 2 }
  bottom: "conv1" top: "pool1"
}
layers {
  layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.0001 beta: 0.75 }
  bottom: "pool1" top: "norm1"
}
layers { layer { name: "fc" type: "innerproduct" num_output: 5 } bottom: "norm1" top: "fc" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.5 } bottom: "fc" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""


def load(folder: Path, text: str) -> Network:
    generator = np.random.default_rng(1)
    path, model = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_text(text)
    shapes = {"conv1": [(4, 3, 3, 3), (4,)], "fc": [(5, 36), (5,)]}
    blobs = {
        name: tuple(generator.normal(size=shape).astype(np.float32) for shape in given)
        for name, given in shapes.items()
    }
    weights.write(model, "net", blobs)
    return network.load(path, model)


@pytest.mark.parametrize("old", [V1, V0], ids=["2014", "2013"])
def test_old_forms_give_the_same_network(tmp_path: Path, old: str) -> None:
    new_net, old_net = load(tmp_path, V2), load(tmp_path, old)
    assert old_net.inputs == new_net.inputs
    assert old_net.outputs == new_net.outputs
    assert old_net.warnings == ()
    for left, right in zip(old_net.layers, new_net.layers, strict=True):
        assert (left.name, left.type, left.bottoms, left.tops) == (
            right.name,
            right.type,
            right.bottoms,
            right.tops,
        )
        assert left.parameter == right.parameter
        for a, b in zip(left.blobs, right.blobs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_old_layers_keep_their_lines(tmp_path: Path) -> None:
    assert [layer.line for layer in load(tmp_path, V1).layers] == [4, 9, 10, 14, 18, 22, 23]
    assert [layer.line for layer in load(tmp_path, V0).layers] == [5, 12, 13, 17, 21, 22, 23]


@pytest.mark.parametrize("old", [V1, V0], ids=["2014", "2013"])
def test_opencv_upgrades_old_forms_to_the_same_outputs(tmp_path: Path, old: str) -> None:
    load(tmp_path, V2)
    image = np.random.default_rng(2).normal(size=(1, 3, 12, 12)).astype(np.float32)
    outputs = []
    for text in (V2, old):
        (tmp_path / "net.prototxt").write_text(text)
        net = cv2.dnn.readNetFromCaffe(
            str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")
        )
        net.setInput(image)
        outputs.append(net.forward("prob"))
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_every_type_of_2014_has_a_current_name() -> None:
    assert set(legacy.TYPES) == set(V1LayerParameter.LayerType.keys())
    assert [name for name, new in legacy.TYPES.items() if not new] == ["NONE"]


def test_named_parameters_and_rules_survive() -> None:
    net = NetParameter()
    old = net.layers.add(name="a", type=V1LayerParameter.CONVOLUTION, param=["w", "b"])
    old.blob_share_mode.extend([V1LayerParameter.STRICT, V1LayerParameter.PERMISSIVE])
    old.include.add(phase=0)
    old.loss_weight.append(0.5)
    old.convolution_param.num_output = 3
    new = legacy.upgrade(old)
    assert [spec.name for spec in new.param] == ["w", "b"]
    assert [spec.share_mode for spec in new.param] == [0, 1]
    assert new.include[0].phase == 0
    assert list(new.loss_weight) == [0.5]
    assert new.convolution_param.num_output == 3


def test_both_forms_in_one_file_are_a_problem(tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match=r"line 4: `layers` \(the old form\) and `layer`"):
        load(tmp_path, V1 + 'layer { name: "x" type: "ReLU" bottom: "fc" top: "x" }')


def test_padding_before_another_layer_than_conv_or_pool_is_a_problem() -> None:
    text = V0.replace('type: "conv" num_output: 4 kernelsize: 3 stride: 2', 'type: "relu"')
    _, problems = legacy.entries(prototxt.parse(text, NetParameter))
    assert [(problem.line, problem.layer) for problem in problems] == [(5, "conv1")]


@pytest.mark.parametrize(
    ("text", "dilation"),
    [
        ("num_output: 1", []),
        ("hole: 4", [4, 4]),
        ("hole_h: 2 hole_w: 3", [2, 3]),
        ("hole: 1", []),
        ("dilation: 5 hole: 4", [5]),
    ],
)
@pytest.mark.parametrize("form", ["layer { type: 'Convolution'", "layers { type: CONVOLUTION"])
def test_deeplabs_holes_become_dilation(form: str, text: str, dilation: list[int]) -> None:
    parsed = prototxt.parse(f"{form} convolution_param {{ {text} }} }}", NetParameter)
    (entry,), problems = legacy.entries(parsed)
    assert problems == []
    assert list(entry.parameter.convolution_param.dilation) == dilation
    assert not entry.parameter.convolution_param.HasField("hole")
