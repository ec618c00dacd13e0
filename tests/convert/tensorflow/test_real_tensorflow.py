"""A graph that TensorFlow itself built, ran and froze; skipped where it isn't installed.

TensorFlow is not a dependency: a separate environment with `tensorflow-cpu`, `onnx`, `onnxruntime`,
`opencv-python-headless<5`, `tqdm` and `pytest` is enough to run this file.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from convert.caffe import prototxt
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.tensorflow.transfer import transfer
from geometry.arrays import F32, U8
from training.architecture import networks
from training.architecture.family import Architecture, Block, Extra, Head

SIZE = 65
"""Odd after every halving but the last, so that SAME pads as Caffe does: evenly."""
BGR = Preprocessing.of(3)
SIGNED = Preprocessing.of(3, ChannelOrder.RGB, (127.5,), 1 / 127.5)
ARCHITECTURE = Architecture(
    height=SIZE,
    width=SIZE,
    stem=8,
    first_width=4,
    blocks=(Block(6, stride=2, expansion=6), Block(6, expansion=6)),
    last_width=16,
    extras=(Extra(5, 7),),
    heads=(Head("Conv_1", (16,)),),
)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tf() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tensorflow", reason="TensorFlow is an optional reference")


def build(tf: Any, epsilon: float) -> dict[str, Any]:
    """The network in the current graph, with slim's names; its tensors by scope."""
    v1 = tf.compat.v1
    tops: dict[str, Any] = {}

    def conv(
        x: Any, scope: str, width: int, kernel: int = 1, stride: int = 1, *, linear: bool = False
    ) -> Any:
        depthwise = width == 0
        channels = x.shape[-1]
        strides = [1, stride, stride, 1]
        with v1.variable_scope(scope):
            init = v1.random_normal_initializer(stddev=1 / np.sqrt(kernel * kernel * channels))
            if depthwise:
                init = v1.random_normal_initializer(stddev=0.3)
                shape = [kernel, kernel, channels, 1]
                weights = v1.get_variable("depthwise_weights", shape, initializer=init)
                x = tf.nn.depthwise_conv2d(x, weights, strides, "SAME", name="depthwise")
            else:
                weights = v1.get_variable(
                    "weights", [kernel, kernel, channels, width], initializer=init
                )
                x = v1.nn.conv2d(x, weights, strides, "SAME", name="Conv2D")
            with v1.variable_scope("BatchNorm"):
                out = [x.shape[-1]]
                spread, around = v1.random_uniform_initializer, v1.random_normal_initializer
                gamma = v1.get_variable("gamma", out, initializer=spread(0.4, 1.2))
                beta = v1.get_variable("beta", out, initializer=around(stddev=0.2))
                mean = v1.get_variable("moving_mean", out, initializer=around(stddev=0.2))
                variance = v1.get_variable("moving_variance", out, initializer=spread(0.2, 2))
                x, _, _ = v1.nn.fused_batch_norm(
                    x, gamma, beta, mean, variance, epsilon, is_training=False,
                    name="FusedBatchNorm",
                )  # fmt: skip
            tops[scope] = x
            # slim's ReLU6 and the family's ReLU are one below 6, where these values stay.
            return x if linear else tf.nn.relu6(x, name="Relu6")

    image = v1.placeholder(tf.uint8, [1, SIZE, SIZE, 3], "image_tensor")
    x = tf.cast(image, tf.float32) * (2 / 255) - 1
    with v1.variable_scope("FeatureExtractor/MobilenetV2"):
        x = conv(x, "Conv", 8, 3, 2)
        x = conv(x, "expanded_conv/depthwise", 0, 3)
        x = conv(x, "expanded_conv/project", 4, linear=True)
        for number, stride in ((1, 2), (2, 1)):
            scope = f"expanded_conv_{number}"
            y = conv(x, f"{scope}/expand", 6 * x.shape[-1])
            y = conv(y, f"{scope}/depthwise", 0, 3, stride)
            y = conv(y, f"{scope}/project", 6, linear=True)
            x = x + y if stride == 1 else y
        x = conv(x, "Conv_1", 16)
        x = conv(x, "layer_19_1_Conv2d_2_1x1_5", 5)
        x = conv(x, "layer_19_2_Conv2d_2_3x3_s2_7_depthwise", 0, 3, 2)
        tops["last"] = conv(x, "layer_19_2_Conv2d_2_3x3_s2_7", 7)
    with v1.variable_scope("BoxPredictor_0/BoxEncodingPredictor"):
        weights = v1.get_variable("weights", [1, 1, 7, 4])
        v1.nn.conv2d(tops["last"], weights, 1, "SAME", name="Conv2D")
    return tops


def opencv(
    caffemodel: Path,
    rgb: U8,
    preprocessing: Preprocessing,
    end: str,
    architecture: Architecture = ARCHITECTURE,
) -> F32:
    """Output [height, width, channels] of the layer `end`, the last that is left."""
    net = networks.deploy(architecture)
    del net.layer[[layer.name for layer in net.layer].index(end) + 1 :]
    text = np.frombuffer(prototxt.write(net).encode(), np.uint8)
    loaded = cv2.dnn.readNetFromCaffe(text, np.fromfile(caffemodel, np.uint8))
    pixels = rgb if preprocessing.channel_order is ChannelOrder.RGB else rgb[..., ::-1]
    data = (pixels - np.array(preprocessing.mean)) * preprocessing.scale
    loaded.setInput(data.transpose(2, 0, 1)[None].astype(np.float32))
    found: F32 = np.asarray(loaded.forward())[0].transpose(1, 2, 0)
    return found


def close(found: F32, expected: F32) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("resource", [False, True], ids=["variables", "resource variables"])
@pytest.mark.parametrize("epsilon", [0.001, 0.02])
def test_opencv_computes_what_tensorflow_does(
    tf: Any, tmp_path: Path, resource: bool, epsilon: float
) -> None:
    v1 = tf.compat.v1
    rgb = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.set_random_seed(11)
        with v1.variable_scope("", use_resource=resource):
            tops = build(tf, epsilon)
        session.run(v1.global_variables_initializer())
        wanted = {"first": tops["Conv"], "last": tops["last"]}
        expected, everything = session.run([wanted, tops], {"image_tensor:0": rgb[None]})
        assert max(np.abs(top).max() for top in everything.values()) < 6
        assert expected["last"].std() > 0.01
        ends = ["FeatureExtractor/MobilenetV2/layer_19_2_Conv2d_2_3x3_s2_7/Relu6",
                "BoxPredictor_0/BoxEncodingPredictor/Conv2D"]  # fmt: skip
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ends)
    source, output = tmp_path / "frozen.pb", tmp_path / "out.caffemodel"
    source.write_bytes(frozen.SerializeToString())

    done = transfer(source, output, BGR, "real")
    assert (done.convolutions, done.batch_norm) == (13, True)
    assert done.warnings == (
        "1 trained constants have no place in this family and are left out: those of "
        "BoxPredictor_0/BoxEncodingPredictor",
    )
    found = opencv(output, rgb, BGR, "Conv/scale")
    close(found[1:-1, 1:-1], expected["first"][0][1:-1, 1:-1])

    transfer(source, output, SIGNED, "real")
    close(opencv(output, rgb, SIGNED, "Conv/scale"), expected["first"][0])
    close(opencv(output, rgb, SIGNED, "layer_19_2_2/relu"), expected["last"][0])


def test_what_tensorflow_folded_is_what_the_merged_prototxt_computes(
    tf: Any, tmp_path: Path
) -> None:
    folding = pytest.importorskip(
        "tensorflow.python.tools.optimize_for_inference_lib", reason="no part of its public API"
    )
    v1 = tf.compat.v1
    rgb = np.random.default_rng(6).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.set_random_seed(12)
        tops = build(tf, 0.001)
        session.run(v1.global_variables_initializer())
        expected = session.run(tops["last"], {"image_tensor:0": rgb[None]})
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [tops["last"].op.name]
        )
    folded = folding.optimize_for_inference(
        frozen, ["image_tensor"], [tops["last"].op.name], tf.uint8.as_datatype_enum
    )
    source, output = tmp_path / "folded.pb", tmp_path / "out.caffemodel"
    source.write_bytes(folded.SerializeToString())
    assert not transfer(source, output, SIGNED, "real").batch_norm
    merged = replace(ARCHITECTURE, batch_norm=False)
    close(opencv(output, rgb, SIGNED, "layer_19_2_2/relu", merged), expected[0])
