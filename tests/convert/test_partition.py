"""Wide values between convolutions are computed in parts, with the same results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from convert.graph import BATCH, GraphBuilder, Node, Value
from convert.partition import partition, wide_values
from geometry.arrays import F32
from sfd.cli import main

MODEL = Path(__file__).parents[2] / "model_store" / "sfd-640-mobilenetv2-mod2"
SIDE, NARROW, WIDE = 60, 16, 144
"""A wide value takes 2 MB: three parts of 48 channels."""


class Layers:
    """An inverted residual with random weights, built layer by layer."""

    def __init__(self) -> None:
        self.graph = GraphBuilder()
        self.random = np.random.default_rng(0)
        self.data = self.graph.input("data", (BATCH, NARROW, SIDE, SIDE))

    def conv(
        self, name: str, source: Value, channels: int = WIDE, *, kernel: int = 1, group: int = 1,
        stride: int = 1, bias: bool = True, weights: F32 | None = None,
    ) -> Value:  # fmt: skip
        if weights is None:
            shape = (channels, source.static(1) // group, kernel, kernel)
            weights = (self.random.normal(size=shape) / shape[1]).astype(np.float32)
        constants = [self.graph.constant(weights, f"{name}/weight")]
        if bias:
            constants.append(self.graph.constant(self.random.normal(size=channels), f"{name}/bias"))
        side = (source.static(2) - 1) // stride + 1
        return self.graph.node(
            "Conv", [source, *constants], (BATCH, channels, side, side), name=name,
            kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, strides=[stride] * 2, group=group,
        )  # fmt: skip

    def activation(self, name: str, source: Value, operator: str, **attributes: Any) -> Value:
        constants: Mapping[str, list[Any]] = {
            "Clip": [np.float32(0), np.float32(6)],
            "PRelu": [self.random.normal(size=(source.static(1), 1, 1))],
        }
        inputs = [
            self.graph.constant(each, f"{name}/{at}")
            for at, each in enumerate(constants.get(operator, []))
        ]
        return self.graph.node(operator, [source, *inputs], source.shape, name=name, **attributes)

    def add(self, name: str, one: Value, other: Value) -> Value:
        return self.graph.node("Add", [one, other], one.shape, name=name)

    def residual(self, name: str, source: Value, channels: int = NARROW) -> Value:
        """What an inverted residual adds to its input."""
        wide = self.activation(f"{name}/relu", self.conv(f"{name}/expand", source), "Relu")
        deep = self.conv(f"{name}/depthwise", wide, kernel=3, group=WIDE)
        return self.conv(f"{name}/project", deep, channels)

    def finish(self, *outputs: Value) -> list[Node]:
        """Partition, compare the outputs, and return the nodes."""
        for value in outputs:
            self.graph.output(value.name, value)
        before = self.graph.model("before")
        partition(self.graph, wide_values(self.graph))
        after = self.graph.model("after")
        onnx.checker.check_model(after, full_check=True)
        feed = self.random.normal(size=(2, NARROW, SIDE, SIDE)).astype(np.float32)
        for one, other in zip(run(before, feed), run(after, feed), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)
        return self.graph.nodes


def run(model: onnx.ModelProto, feed: F32) -> list[F32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[F32] = session.run(None, {"data": feed})
    return found


def operators(nodes: list[Node]) -> list[str]:
    return [node.operator for node in nodes]


def test_each_part_is_used_before_the_next_one_is_made() -> None:
    layers = Layers()
    out = layers.residual("block", layers.data)
    nodes = layers.finish(layers.add("out", layers.data, out))
    assert operators(nodes) == ["Conv", "Relu", "Conv", "Conv", "Add"] * 3
    assert [node.outputs[0] for node in nodes[4::5]] == [
        "block/project/part1/sum", "block/project/part2/sum", "out",
    ]  # fmt: skip
    assert nodes[4].inputs[0] == "data", "the parts are added to the block's input"


def test_the_parts_are_whole_blocks_of_channels() -> None:
    layers = Layers()
    nodes = layers.finish(layers.residual("block", layers.data))
    shapes = [layers.graph.values[node.outputs[0]].shape for node in nodes]
    assert [shape[1] for node, shape in zip(nodes, shapes, strict=True)
            if "expand" in node.outputs[0]] == [48, 48, 48]  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("PRelu", {}), ("Clip", {})],
)
@pytest.mark.parametrize("bias", [True, False])
def test_activations_and_biases_are_those_of_the_channels(
    operator: str, attributes: dict[str, float], bias: bool
) -> None:
    layers = Layers()
    wide = layers.conv("expand", layers.data, bias=bias)
    wide = layers.activation("active", wide, operator, **attributes)
    nodes = layers.finish(layers.conv("project", wide, NARROW, kernel=3, stride=2, bias=bias))
    assert operators(nodes).count(operator) == 3


def test_one_bias_is_added_once() -> None:
    layers = Layers()
    nodes = layers.finish(layers.residual("block", layers.data))
    projections = [node for node in nodes if node.outputs[0].startswith("block/project/part")
                   and node.operator == "Conv"]  # fmt: skip
    assert [len(node.inputs) for node in projections] == [3, 2, 2]


def test_several_readers_at_several_depths_get_all_parts() -> None:
    layers = Layers()
    wide = layers.activation("relu", layers.conv("expand", layers.data), "Relu")
    head = layers.conv("head", wide, 6, kernel=3)
    deep = layers.conv("depthwise", wide, kernel=3, group=WIDE, stride=2)
    nodes = layers.finish(head, layers.conv("project", deep, NARROW))
    assert operators(nodes).count("Conv") == 4 * 3


def test_two_blocks_in_a_row_are_both_partitioned() -> None:
    layers = Layers()
    first = layers.add("first", layers.residual("a", layers.data), layers.data)
    second = layers.add("second", layers.residual("b", first), first)
    assert len(layers.finish(second)) == 2 * 15


def test_a_convolution_that_reads_parts_makes_none() -> None:
    layers = Layers()
    wide = layers.activation("a", layers.conv("expand", layers.data, 4 * WIDE), "Relu")
    again = layers.activation("b", layers.conv("middle", wide, 2 * WIDE), "Relu")
    nodes = layers.finish(layers.conv("project", again, NARROW))
    assert operators(nodes)[-3:] == ["Add", "Relu", "Conv"]


def test_a_sum_of_two_results_stays_a_sum() -> None:
    layers = Layers()
    one, other = (layers.residual(name, layers.data) for name in "ab")
    layers.finish(layers.add("out", one, other))
    doubled = Layers()
    out = doubled.residual("block", doubled.data)
    doubled.finish(doubled.add("out", out, out))


def _is_output(layers: Layers) -> list[Value]:
    wide = layers.conv("expand", layers.data)
    return [wide, layers.conv("project", wide, NARROW)]


def _small(layers: Layers) -> list[Value]:
    return [layers.conv("project", layers.conv("expand", layers.data, 48), NARROW)]


def _wide_outputs(layers: Layers) -> list[Value]:
    return [layers.conv("project", layers.conv("expand", layers.data), WIDE)]


def _other_reader(layers: Layers) -> list[Value]:
    wide = layers.conv("expand", layers.data)
    return [layers.add("out", layers.conv("same", layers.data), wide),
            layers.conv("project", wide, NARROW)]  # fmt: skip


def _grouped_reader(layers: Layers) -> list[Value]:
    return [layers.conv("project", layers.conv("expand", layers.data), NARROW, group=2)]


def _infinite(layers: Layers) -> list[Value]:
    weights = np.full((WIDE, NARROW, 1, 1), np.inf, np.float32)
    wide = layers.conv("expand", layers.data, weights=weights)
    return [layers.conv("project", layers.activation("relu", wide, "Relu"), NARROW)]


@pytest.mark.parametrize(
    "build", [_is_output, _small, _wide_outputs, _other_reader, _grouped_reader, _infinite]
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_where_it_would_not_pay_nothing_changes(build: Any) -> None:
    layers = Layers()
    outputs = build(layers)
    for value in outputs:
        layers.graph.output(value.name, value)
    before = list(layers.graph.needed_nodes())
    assert not wide_values(layers.graph)
    partition(layers.graph, {})
    assert layers.graph.nodes == before


def test_the_default_model_is_verified_in_parts(tmp_path: Path) -> None:
    """`sfd convert` compares the file with OpenCV before it writes it."""
    plain, parts, report = (tmp_path / name for name in ("plain.onnx", "parts.onnx", "report.json"))
    sources = [str(MODEL / "deploy.prototxt"), str(MODEL / "weights.caffemodel")]
    assert main(["convert", *sources, "-o", str(plain), "--no-verify"]) == 0
    assert (
        main(["convert", *sources, "-o", str(parts), "--partition", "--report", str(report)]) == 0
    )
    read = json.loads(report.read_text("utf-8"))
    assert read["verification"]["status"] == "verified"
    assert read["wide"] == 16
    names = [node.name for node in onnx.load(parts).graph.node]
    assert sum(name.endswith("/part1") for name in names) > read["wide"]
    assert not any("/part1" in node.name for node in onnx.load(plain).graph.node)
    image = np.random.default_rng(0).integers(0, 256, (2, 640, 640, 3)).astype(np.uint8)
    one, other = (
        ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(
            None, {"images": image}
        )
        for file in (plain, parts)
    )
    for before, after in zip(one, other, strict=True):
        np.testing.assert_allclose(after, before, atol=2e-6)
