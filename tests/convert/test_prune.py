"""Channels that change no output are removed, with the same results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from convert.caffe import weights
from convert.graph import BATCH, GraphBuilder, Value
from convert.prune import prune
from convert.widen import BLOCK
from geometry.arrays import F32
from sfd.cli import main

MODEL = Path(__file__).parents[2] / "model_store" / "sfd-640-mobilenetv2-mod2"
WIDE, KEPT = 3 * BLOCK, 2 * BLOCK
"""Channels of a convolution before and after pruning; `silenced` leaves 20 of them to vary."""


class Layers:
    """Convolutions with random weights, some of whose channels are set to zero."""

    def __init__(self) -> None:
        self.graph = GraphBuilder()
        self.random = np.random.default_rng(0)
        self.data = self.graph.input("data", (BATCH, 4, 7, 7))

    def conv(
        self, name: str, source: Value, channels: int = WIDE, *, kernel: int = 1, pad: int = 0,
        group: int = 1, silent: Mapping[int, float] = {}, bias: bool = True, ignored: int = 0,
    ) -> Value:  # fmt: skip
        """`silent` channels are the given number everywhere; the last `ignored` inputs weigh 0."""
        shape = (channels, source.static(1) // group, kernel, kernel)
        kernels = self.random.normal(size=shape)
        biases = self.random.normal(size=channels)
        for channel, value in silent.items():
            kernels[channel], biases[channel] = 0, value
        if ignored:
            kernels[:, -ignored:] = 0
        constants = [self.graph.constant(kernels, f"{name}/weight")]
        if bias:
            constants.append(self.graph.constant(biases, f"{name}/bias"))
        side = source.static(2) + 2 * pad - kernel + 1
        return self.graph.node(
            "Conv", [source, *constants], (BATCH, channels, side, side), name=name,
            kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[1, 1], group=group,
        )  # fmt: skip

    def activation(self, name: str, source: Value, operator: str, **attributes: Any) -> Value:
        constants: Mapping[str, list[Any]] = {
            "Clip": [0.0, 6.0],
            "PRelu": [self.random.normal(size=(source.static(1), 1, 1))],
        }
        inputs = [
            self.graph.constant(each, f"{name}/{at}")
            for at, each in enumerate(constants.get(operator, []))
        ]
        return self.graph.node(operator, [source, *inputs], source.shape, name=name, **attributes)

    def finish(self, *outputs: Value) -> dict[str, list[int]]:
        """Prune, compare the outputs, and return the shapes of the weights by their output."""
        for value in outputs:
            self.graph.output(value.name, value)
        before = self.graph.model("before")
        prune(self.graph)
        after = self.graph.model("after")
        onnx.checker.check_model(after, full_check=True)
        feed = self.random.normal(size=(2, 4, 7, 7)).astype(np.float32)
        for one, other in zip(run(before, feed), run(after, feed), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
        shapes = {each.name: list(each.dims) for each in after.graph.initializer}
        return {
            node.output[0].removesuffix("/pruned"): shapes[node.input[1]]
            for node in after.graph.node
            if node.op_type == "Conv"
        }


def run(model: onnx.ModelProto, feed: F32) -> list[F32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[F32] = session.run(None, {"data": feed})
    return found


def silenced(value: float) -> dict[int, float]:
    return dict.fromkeys(range(10, WIDE - 10), value)


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("Relu", 0.0), ("Relu", -1.5), ("Relu", 1.5), ("Clip", -2.0), ("Clip", 9.0),
        ("LeakyRelu", -1.5), ("PRelu", -1.5), ("PRelu", 1.5),
    ],
)  # fmt: skip
def test_constant_channels_are_removed_whatever_the_activation(operator: str, value: float) -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(value))
    attributes = {"alpha": 0.1} if operator == "LeakyRelu" else {}
    active = layers.activation("active", wide, operator, **attributes)
    assert layers.finish(layers.conv("last", active, 5, bias=False)) == {
        "wide": [KEPT, 4, 1, 1],
        "last": [5, KEPT, 1, 1],
    }


def test_through_a_depthwise_convolution_channels_are_removed_before_and_after_it() -> None:
    layers = Layers()
    first = layers.activation("a", layers.conv("wide", layers.data), "Relu")
    deep = layers.conv("deep", first, kernel=3, pad=1, group=WIDE, silent=silenced(-1.0) | {3: 0.7})
    second = layers.activation("b", deep, "Relu")
    assert layers.finish(layers.conv("last", second, 5)) == {
        "wide": [KEPT, 4, 1, 1],
        "deep": [KEPT, 1, 3, 3],
        "last": [5, KEPT, 1, 1],
    }


def test_channels_that_no_reader_weighs_are_removed_with_what_only_they_need() -> None:
    layers = Layers()
    first = layers.activation("a", layers.conv("first", layers.data), "Relu")
    # The second convolution alone reads the first one's last channels, by its own last ones.
    kernels = layers.random.normal(size=(WIDE, WIDE, 1, 1))
    kernels[:KEPT, KEPT:] = 0
    weight = layers.graph.constant(kernels, "second/weight")
    second = layers.graph.node("Conv", [first, weight], (BATCH, WIDE, 7, 7), name="second")
    last = layers.conv("last", layers.activation("b", second, "Relu"), 5, ignored=BLOCK)
    assert layers.finish(last) == {
        "first": [KEPT, 4, 1, 1],
        "second": [KEPT, KEPT, 1, 1],
        "last": [5, KEPT, 1, 1],
    }


def test_a_constant_other_than_zero_stays_where_zeros_are_added_around_it() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(1.0))
    assert layers.finish(layers.conv("last", wide, 5, kernel=3, pad=1))["wide"][0] == WIDE


def test_zeros_go_where_zeros_are_added_around_them() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(0.0))
    assert layers.finish(layers.conv("last", wide, 5, kernel=3, pad=1))["wide"][0] == KEPT


@pytest.mark.parametrize("reader", ["output", "addition", "groups", "activation"])
def test_a_value_with_a_reader_that_needs_every_channel_stays(reader: str) -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(0.0))
    outputs = [layers.conv("last", wide, 5)]
    if reader == "output":
        outputs.append(wide)
    elif reader == "addition":
        outputs.append(layers.graph.node("Add", [wide, wide], wide.shape, name="sum"))
    elif reader == "groups":
        outputs.append(layers.conv("grouped", wide, 6, group=2))
    else:
        outputs.append(layers.activation("mean", wide, "Sigmoid"))
    assert layers.finish(*outputs)["wide"][0] == WIDE


def test_whole_blocks_of_channels_are_kept() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=dict.fromkeys(range(BLOCK - 1), 0.0))
    assert layers.finish(layers.conv("last", wide, 5))["wide"][0] == WIDE


def test_a_layer_without_any_effect_keeps_one_block() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=dict.fromkeys(range(WIDE), 0.25))
    assert layers.finish(layers.conv("last", wide, 5))["wide"][0] == BLOCK


def test_without_constant_channels_nothing_changes() -> None:
    layers = Layers()
    last = layers.conv("last", layers.activation("a", layers.conv("w", layers.data), "Relu"), 5)
    before = list(layers.graph.nodes)
    layers.finish(last)
    assert layers.graph.nodes == before


def test_a_caffemodel_with_channels_of_zeros_becomes_a_smaller_file(tmp_path: Path) -> None:
    """OpenCV checks the result: `sfd convert` verifies it."""
    layers = {
        name: list(blobs) for name, blobs in weights.read(MODEL / "weights.caffemodel").items()
    }
    layers["Conv_1/scale"] = [blob.copy() for blob in layers["Conv_1/scale"]]
    for blob in layers["Conv_1/scale"]:
        blob[:640] = 0
    source = tmp_path / "zeros.caffemodel"
    weights.write(source, "zeros", layers)
    sizes = []
    for name in ("pruned", "whole"):
        made = tmp_path / f"{name}.onnx"
        arguments = ["--no-verify", "--no-prune"] if name == "whole" else []
        assert main(
            ["convert", str(MODEL / "deploy.prototxt"), str(source), "-o", str(made), *arguments]
        ) == 0  # fmt: skip
        sizes.append(made.stat().st_size)
    # 640 channels of Conv_1 read 320 inputs each, and 256 + 54 outputs read them.
    assert sizes[1] - sizes[0] > 0.9 * 640 * (320 + 256 + 54) * 4


def test_names_of_the_network_stay_its_own() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(0.0))
    own = layers.conv("wide/pruned", layers.data, 3)
    shapes = layers.finish(layers.conv("last", wide, 5), own)
    assert shapes["last"] == [5, KEPT, 1, 1]


def test_a_clip_without_an_upper_bound_keeps_every_channel() -> None:
    layers = Layers()
    wide = layers.conv("wide", layers.data, silent=silenced(0.0))
    low = layers.graph.constant(0.0, "low")
    clipped = layers.graph.node("Clip", [wide, low, None], wide.shape, name="clipped")
    assert layers.finish(layers.conv("last", clipped, 5))["last"] == [5, WIDE, 1, 1]
