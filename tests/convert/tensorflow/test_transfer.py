"""The weights in a network of the family, run by OpenCV, against what TensorFlow computes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from convert.caffe import network, prototxt, weights
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.tensorflow import blobs
from convert.tensorflow.graph import GraphError
from convert.tensorflow.graph_pb2 import DT_HALF, DT_INT8, GraphDef
from convert.tensorflow.transfer import Transfer, transfer
from geometry.arrays import F32, F64, U8
from training.architecture import layers, networks
from training.architecture.family import Architecture, Block, Extra, Head

Constants = dict[str, F32]
Freeze = Callable[..., GraphDef]

BGR = Preprocessing.of(3)
SIGNED = Preprocessing.of(3, ChannelOrder.RGB, (127.5,), 1 / 127.5)
ROOT = "FeatureExtractor/MobilenetV2/"
ARCHITECTURE = Architecture(
    height=33,
    width=33,
    stem=8,
    first_width=4,
    blocks=(Block(6, stride=2, expansion=6), Block(6, expansion=6)),
    last_width=16,
    extras=(Extra(5, 7),),
    heads=(Head("Conv_1", (16,)),),
)
"""The conftest's network."""


def small(size: int, last: str = "layer_19_2_2/relu", *, batch_norm: bool = True) -> str:
    """The prototxt of the conftest's network up to a layer: the last before the heads."""
    net = networks.deploy(replace(ARCHITECTURE, height=size, width=size, batch_norm=batch_norm))
    names = [layer.name for layer in net.layer]
    del net.layer[names.index(last) + 1 :]
    return prototxt.write(net)


def convert(
    definition: GraphDef, folder: Path, preprocessing: Preprocessing = BGR
) -> tuple[Path, Transfer]:
    source = folder / "frozen.pb"
    source.write_bytes(definition.SerializeToString())
    return folder / "out.caffemodel", transfer(
        source, folder / "out.caffemodel", preprocessing, "small"
    )


def opencv(prototxt: str, caffemodel: Path, data: F64) -> F32:
    """The last layer's output [channels, height, width] for data [3, height, width].

    What layers in the middle put out can't be asked for: OpenCV fuses them into their neighbours.
    """
    net = cv2.dnn.readNetFromCaffe(
        np.frombuffer(prototxt.encode(), np.uint8), np.fromfile(caffemodel, np.uint8)
    )
    net.setInput(data[None].astype(np.float32))
    found: F32 = np.asarray(net.forward())[0]
    return found


def fed(rgb: U8, preprocessing: Preprocessing) -> F64:
    """[height, width, 3] as Caffe is fed, [3, height, width]."""
    pixels = rgb if preprocessing.channel_order is ChannelOrder.RGB else rgb[..., ::-1]
    data: F64 = (pixels - np.array(preprocessing.mean)) * preprocessing.scale
    return data.transpose(2, 0, 1)


def same(x: F64, kernel: F32, stride: int, *, depthwise: bool) -> F64:
    """TensorFlow's convolution with SAME padding of x [height, width, in], slowly."""
    size = kernel.shape[0]
    out = [-(-side // stride) for side in x.shape[:2]]
    total = [max((o - 1) * stride + size - s, 0) for o, s in zip(out, x.shape[:2], strict=True)]
    x = np.pad(x, [(t // 2, t - t // 2) for t in total] + [(0, 0)])
    result: F64 = np.zeros(())
    for row in range(size):
        for column in range(size):
            window = x[row:, column:][: stride * (out[0] - 1) + 1 : stride]
            window = window[:, : stride * (out[1] - 1) + 1 : stride]
            weight = kernel[row, column].astype(np.float64)
            result = result + (window * weight[:, 0] if depthwise else window @ weight)
    return result


def unit(x: F64, constants: Constants, scope: str, *, stride: int = 1, eps: float = 0.001) -> F64:
    """A convolution of the graph and its BatchNorm."""
    depthwise = scope.endswith("depthwise")
    kernel = constants[f"{scope}/{'depthwise_' if depthwise else ''}weights"]
    x = same(x, kernel, stride, depthwise=depthwise)
    norm = {
        key: constants[f"{scope}/BatchNorm/{key}"].astype(np.float64)
        for key in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    spread = np.sqrt(norm["moving_variance"] + eps)
    return (x - norm["moving_mean"]) / spread * norm["gamma"] + norm["beta"]


def tensorflow(rgb: U8, constants: Constants, *, eps: float = 0.001) -> F64:
    """The last feature layer of the whole network for a picture, [height, width, channels]."""

    def run(x: F64, scope: str, stride: int = 1, *, linear: bool = False) -> F64:
        x = unit(x, constants, scope, stride=stride, eps=eps)
        return x if linear else np.maximum(x, 0)

    x = run(rgb / 127.5 - 1, "Conv", 2)
    x = run(run(x, "expanded_conv/depthwise"), "expanded_conv/project", linear=True)
    for number, stride in ((1, 2), (2, 1)):
        block = f"expanded_conv_{number}"
        y = run(run(x, f"{block}/expand"), f"{block}/depthwise", stride)
        y = run(y, f"{block}/project", linear=True)
        x = x + y if stride == 1 else y
    x = run(run(x, "Conv_1"), "layer_19_1_Conv2d_2_1x1_5")
    x = run(x, "layer_19_2_Conv2d_2_3x3_s2_7_depthwise", 2)
    return run(x, "layer_19_2_Conv2d_2_3x3_s2_7")


def picture(size: int) -> U8:
    return np.random.default_rng(3).integers(0, 256, (size, size, 3), np.uint8)


def equal(found: F32, expected: F64) -> None:
    """[channels, height, width] against [height, width, channels]."""
    expected = expected.transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "preprocessing",
    [
        BGR,
        SIGNED,
        Preprocessing.of(3, ChannelOrder.RGB),
        Preprocessing.of(3, None, (10, 200, 30), 0.017),
    ],
)
@pytest.mark.parametrize("eps", [0.001, 0.01])
def test_the_first_convolution_and_its_norm_are_exact_inside_the_picture(
    constants: Constants, freeze: Freeze, tmp_path: Path, preprocessing: Preprocessing, eps: float
) -> None:
    rgb = picture(33)
    file, _ = convert(freeze(constants, epsilon=eps), tmp_path, preprocessing)
    found = opencv(small(33, "Conv/scale"), file, fed(rgb, preprocessing))
    expected = unit(rgb / 127.5 - 1, constants, "Conv", stride=2, eps=eps)
    equal(found[:, 1:-1, 1:-1], expected[1:-1, 1:-1])


def test_an_even_size_is_exact_inside_but_a_pixel_off(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    # TensorFlow's windows begin at pixel 0, Caffe's at pixel -1.
    rgb = picture(32)
    file, _ = convert(freeze(constants), tmp_path)
    shifted = np.pad(rgb[1:, 1:], ((0, 1), (0, 1), (0, 0)))
    found = opencv(small(32, "Conv/scale"), file, fed(shifted, BGR))
    expected = unit(rgb / 127.5 - 1, constants, "Conv", stride=2)
    equal(found[:, 1:-1, 1:-1], expected[1:-1, 1:-1])


@pytest.mark.parametrize("eps", [0.001, 0.02])
def test_the_whole_network_is_exact_where_mean_and_alignment_are_tensorflows(
    constants: Constants, freeze: Freeze, tmp_path: Path, eps: float
) -> None:
    rgb = picture(33)
    file, _ = convert(freeze(constants, epsilon=eps), tmp_path, SIGNED)
    found = opencv(small(33), file, fed(rgb, SIGNED))
    expected = tensorflow(rgb, constants, eps=eps)
    assert expected.std() > 0.01
    equal(found, expected)


def test_a_folded_batch_norm_becomes_biases(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    rgb = picture(33)
    folded: Constants = {}
    for name in [name for name in constants if name.endswith("weights")]:
        scope = name.rpartition("/")[0]
        norm = {
            key: constants[f"{scope}/BatchNorm/{key}"]
            for key in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        factor = norm["gamma"] / np.sqrt(norm["moving_variance"] + 0.001)
        depthwise = name.endswith("depthwise_weights")
        folded[name] = constants[name] * (factor[:, None] if depthwise else factor)
        bias = norm["beta"] - norm["moving_mean"] * factor
        folded[f"{scope}/{'depthwise' if depthwise else 'Conv2D'}_bn_offset"] = bias
    file, done = convert(freeze(folded), tmp_path, SIGNED)
    assert not done.batch_norm
    found = opencv(small(33, batch_norm=False), file, fed(rgb, SIGNED))
    equal(found, tensorflow(rgb, constants))
    file, _ = convert(freeze(folded), tmp_path, BGR)
    found = opencv(small(33, "Conv", batch_norm=False), file, fed(rgb, BGR))
    expected = unit(rgb / 127.5 - 1, constants, "Conv", stride=2)
    equal(found[:, 1:-1, 1:-1], expected[1:-1, 1:-1])


def test_our_own_reader_finds_every_layer_of_the_prototxt(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    file, done = convert(freeze(constants), tmp_path)
    found = weights.read(file)
    assert list(found) == list(done.layers)
    assert done.warnings == ()
    assert (done.convolutions, done.batch_norm, len(found)) == (13, True, 39)
    assert done.parameters == sum(array.size for item in found.values() for array in item)
    (tmp_path / "deploy.prototxt").write_text(small(33))
    loaded = network.load(tmp_path / "deploy.prototxt", file)
    assert not loaded.warnings
    types = {item.name: item.type for item in weights.read_all(file).layers}
    assert {item.name: item.type for item in loaded.layers if item.blobs} == types


def test_a_network_filled_up_as_the_docs_say_can_be_trained_from(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="PyTorch is an optional extra")
    from training.network.network import CaffeNetwork

    file, _ = convert(freeze(constants), tmp_path)
    deploy, whole = tmp_path / "deploy.prototxt", tmp_path / "whole.caffemodel"
    deploy.write_text(prototxt.write(networks.deploy(ARCHITECTURE)))
    fresh = CaffeNetwork(network.load(deploy, None)).layer_blobs()
    start = weights.read(file)
    weights.write(whole, "start", {**fresh, **start})
    loaded = CaffeNetwork(network.load(deploy, whole)).layer_blobs()
    assert set(start) < set(loaded)
    for name, arrays in start.items():
        for array, expected in zip(loaded[name], arrays, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_a_depthwise_kernel_with_a_multiplier_keeps_its_channel_order(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    name = "expanded_conv/depthwise"
    kernel = np.random.default_rng(1).normal(size=(3, 3, 8, 2)).astype(np.float32)
    constants[f"{name}/depthwise_weights"] = kernel
    for key in ("gamma", "beta", "moving_mean", "moving_variance"):
        constants[f"{name}/BatchNorm/{key}"] = np.ones(16, np.float32)
    file, _ = convert(freeze(constants), tmp_path)
    (found,) = weights.read(file)["conv/depthwise"]
    assert found.shape == (16, 1, 3, 3)
    for channel in range(8):
        for copy in range(2):
            np.testing.assert_array_equal(found[channel * 2 + copy, 0], kernel[:, :, channel, copy])


def test_caffes_epsilon_is_that_of_the_generated_prototxts() -> None:
    assert blobs.CAFFE_EPSILON == layers.BATCH_NORM_EPS


def test_a_variance_below_caffes_epsilon_stays_one(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    gamma = constants["Conv_1/BatchNorm/gamma"]
    constants["Conv_1/BatchNorm/moving_variance"] = np.full(16, 1e-5, np.float32)
    file, _ = convert(freeze(constants, epsilon=1e-4), tmp_path)
    found = weights.read(file)
    variance, scale = found["Conv_1/bn"][1], found["Conv_1/scale"][0]
    assert variance.min() >= 0
    expected = gamma / np.sqrt(1e-5 + 1e-4)
    np.testing.assert_allclose(scale / np.sqrt(variance + 0.001), expected, rtol=1e-5)


def test_an_epsilon_that_the_graph_does_not_state_is_assumed_with_a_warning(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    file, done = convert(freeze(constants, epsilon=None), tmp_path)
    assert done.warnings == (
        "the graph doesn't state the epsilon of 13 BatchNorm layers; assuming the zoo's, 0.001",
    )
    found = weights.read(file)["Conv_1/bn"][1]
    np.testing.assert_allclose(
        found, constants["Conv_1/BatchNorm/moving_variance"], rtol=0, atol=1e-7
    )


def test_the_epsilon_of_an_unfused_norm_is_a_constant(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    scopes = [name.removesuffix("/gamma") for name in constants if name.endswith("gamma")]
    more = {f"{scope}/batchnorm/add/y": np.array(0.5, np.float32) for scope in scopes}
    file, done = convert(freeze({**constants, **more}, epsilon=None), tmp_path)
    assert done.warnings == ()
    expected = constants["Conv_1/BatchNorm/moving_variance"] + (0.5 - 0.001)
    np.testing.assert_allclose(weights.read(file)["Conv_1/bn"][1], expected, rtol=1e-6)


def test_half_precision_is_read(constants: Constants, freeze: Freeze, tmp_path: Path) -> None:
    frozen = freeze(constants)
    for node in frozen.node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            halves = np.frombuffer(tensor.tensor_content, "<f4").astype("<f2")
            tensor.dtype = DT_HALF
            tensor.ClearField("tensor_content")
            tensor.half_val.extend(halves.view("<u2").tolist())
    file, _ = convert(frozen, tmp_path)
    kernel = constants["Conv_1/weights"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(weights.read(file)["Conv_1"][0], kernel.transpose(3, 2, 0, 1))


def test_constants_without_a_place_are_one_warning(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    frozen = freeze(constants)
    for number in range(6):
        for part in ("weights", "biases"):
            frozen.node.add(name=f"BoxPredictor_{number}/Box/{part}", op="Const")
    frozen.node.add(name="Postprocessor/Const", op="Const")
    _, done = convert(frozen, tmp_path)
    (warning,) = done.warnings
    assert warning.startswith("12 trained constants have no place in this family")
    assert warning.endswith("BoxPredictor_2/Box, BoxPredictor_3/Box and 2 more")


def test_full_convolutions_of_the_plain_ssd_are_left_out_with_a_warning(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    kept = {name: array for name, array in constants.items() if "s2_7_depthwise" not in name}
    kept["layer_19_2_Conv2d_2_3x3_s2_7/weights"] = np.ones((3, 3, 5, 7), np.float32)
    file, done = convert(freeze(kept), tmp_path)
    assert (
        "layer_19_2_Conv2d_2_3x3_s2_7: left out, because these are full 3×3 convolutions"
        in done.warnings[0]
    )
    found = weights.read(file)
    assert "layer_19_1_2" in found
    assert not [name for name in found if name.startswith("layer_19_2")]


def test_a_graph_that_ends_early_is_accepted_with_a_warning(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    kept = {k: v for k, v in constants.items() if k.startswith(("Conv/", "expanded_conv"))}
    file, done = convert(freeze(kept), tmp_path)
    assert done.warnings == ("the graph has no Conv_1: it ends before the backbone does",)
    assert list(weights.read(file))[-1] == "conv_2/project_/scale"


def test_all_problems_are_listed_at_once_and_nothing_is_written(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    del constants["Conv/BatchNorm/beta"]
    del constants["Conv_1/weights"]
    for part in ("gamma", "beta", "moving_mean", "moving_variance"):
        del constants[f"expanded_conv/project/BatchNorm/{part}"]
        del constants[f"expanded_conv_1/expand/BatchNorm/{part}"]
    constants = {k: v for k, v in constants.items() if "expanded_conv_2/depthwise" not in k}
    constants["expanded_conv/project/biases"] = np.zeros(4, np.float32)
    constants["expanded_conv_1/depthwise/biases"] = np.zeros(24, np.float32)
    constants["expanded_conv_1/project/weights"] = np.ones((3, 3, 24, 6), np.float32)
    constants["expanded_conv_2/expand/BatchNorm/gamma"] = np.ones(3, np.float32)
    constants["expanded_conv_2/project/BatchNorm/moving_variance"][0] = -1
    frozen = freeze(constants)
    for node in frozen.node:
        if node.name == f"{ROOT}layer_19_1_Conv2d_2_1x1_5/weights":
            node.attr["value"].tensor.dtype = DT_INT8
    with pytest.raises(GraphError) as caught:
        convert(frozen, tmp_path)
    text = str(caught.value)
    for line in (
        "layer Conv: the graph lacks Conv/BatchNorm/beta",
        "layer Conv_1: the graph lacks Conv_1/weights",
        "layer conv_2/depthwise_: the graph lacks this convolution",
        "layer conv_1/expand_: it has neither BatchNorm nor biases",
        "layer conv_1/depthwise_: it has both BatchNorm and biases",
        "layer conv_1/project_: its weights are 3×3×24×6, but it is 1×1 here",
        "layer conv_2/expand_: BatchNorm/gamma is 3 for 36 channels",
        "layer conv_2/project_: BatchNorm/moving_variance has values that can't be variances",
        "its type is DT_INT8",
        "BatchNorm is folded into conv/project but not into the others",
    ):
        assert line in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frozen.pb"]


def test_a_constant_that_is_there_twice_is_a_problem(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    frozen = freeze(constants)
    frozen.node.extend(freeze(constants, root=f"Other/{ROOT}").node)
    with pytest.raises(GraphError, match="layer Conv: weights is there twice: as FeatureExtractor"):
        convert(frozen, tmp_path)


def test_a_graph_of_another_network_is_reported(tmp_path: Path, freeze: Freeze) -> None:
    other = {"Conv2d_0/weights": np.ones((3, 3, 3, 8), np.float32)}
    with pytest.raises(
        GraphError, match=r"no constant has a name of .* it has .*MobilenetV1/Conv2d_0;"
    ):
        convert(freeze(other, root="FeatureExtractor/MobilenetV1/"), tmp_path)


def test_a_graph_that_is_not_frozen_is_reported(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    frozen = freeze(constants)
    for node in frozen.node:
        if node.op == "Const":
            node.op = "VariableV2"
    with pytest.raises(GraphError, match="the graph isn't frozen"):
        convert(frozen, tmp_path)


def test_no_memory_is_spent_on_a_shape_that_no_network_has(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    frozen = freeze(constants)
    for node in frozen.node:
        if node.name.endswith("/weights"):
            tensor = node.attr["value"].tensor
            tensor.tensor_content = b""
            tensor.float_val.append(1)
            tensor.tensor_shape.dim[2].size = 1 << 14
            tensor.tensor_shape.dim[3].size = 1 << 11
    with pytest.raises(GraphError, match="more than any MobileNet-V2 has"):
        convert(frozen, tmp_path)


def test_values_too_large_for_float32_are_reported(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    constants["Conv/weights"][:] = 3e38
    small_scale = Preprocessing.of(3, None, None, 1e-6)
    with pytest.raises(GraphError, match="layer Conv: its values are too large"):
        convert(freeze(constants), tmp_path, small_scale)


def test_every_truncated_file_is_explained_or_accepted(
    constants: Constants, freeze: Freeze, tmp_path: Path
) -> None:
    whole = freeze(constants).SerializeToString()
    source, output = tmp_path / "cut.pb", tmp_path / "out.caffemodel"
    for size in range(0, len(whole), 311):
        source.write_bytes(whole[:size])
        try:
            transfer(source, output, BGR, "cut")
        except GraphError:
            assert not output.exists()
        output.unlink(missing_ok=True)
