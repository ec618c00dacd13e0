"""Convolutions that read one value through the same window become one, with the same results."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from convert.conversion import convert_file
from convert.graph import BATCH, GraphBuilder, Value
from convert.merge import merge
from convert.options import Options
from convert.outputs.kinds import Kind
from geometry.arrays import F32
from sfd.cli import main

MODEL = Path(__file__).parents[2] / "model_store" / "sfd-640-mobilenetv2-mod2"


class Convolutions:
    """Convolutions of one input, by name, with random weights."""

    def __init__(self) -> None:
        self.graph = GraphBuilder()
        self.random = np.random.default_rng(0)
        self.input = self.graph.input("data", (BATCH, 4, 6, 6))

    def conv(
        self, name: str, channels: int, source: Value | None = None, kernel: int = 3, pad: int = 1,
        group: int = 1, bias: bool = True,
    ) -> Value:  # fmt: skip
        source = source or self.input
        shape = (channels, source.static(1) // group, kernel, kernel)
        constants = [self.graph.constant(self.random.normal(size=shape), f"{name}/weight")]
        if bias:
            constants.append(self.graph.constant(self.random.normal(size=channels), f"{name}/b"))
        side = source.static(2) + 2 * pad - kernel + 1
        return self.graph.node(
            "Conv", [source, *constants], (BATCH, channels, side, side), name=name,
            kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[1, 1], group=group,
        )  # fmt: skip

    def finish(self, *outputs: Value) -> tuple[Counter[str], dict[str, F32], dict[str, F32]]:
        """Operators after merging, and the outputs before and after it."""
        for value in outputs:
            self.graph.output(value.name, value)
        before = self.graph.model("before")
        merge(self.graph)
        after = self.graph.model("after")
        onnx.checker.check_model(after, full_check=True)
        feed = self.random.normal(size=(3, 4, 6, 6)).astype(np.float32)
        operators = Counter(node.op_type for node in after.graph.node)
        return operators, run(before, feed), run(after, feed)


def run(model: onnx.ModelProto, feed: F32) -> dict[str, F32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"data": feed}), strict=True))


def assert_same(before: dict[str, F32], after: dict[str, F32]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("biases", [(True, True), (False, False), (True, False)])
def test_two_convolutions_of_one_value_become_one(biases: tuple[bool, bool]) -> None:
    network = Convolutions()
    one, other = (
        network.conv(name, channels, bias=bias)
        for name, channels, bias in zip("ab", (5, 2), biases, strict=True)
    )
    operators, before, after = network.finish(one, other)
    assert operators == {"Conv": 1, "Split": 1}
    assert_same(before, after)


def test_only_convolutions_with_the_same_window_and_input_are_merged() -> None:
    network = Convolutions()
    a, b = network.conv("a", 3), network.conv("b", 3)
    wide = network.conv("wide", 3, kernel=5, pad=2)
    tight = network.conv("tight", 3, pad=0)
    deeper = network.conv("deeper", 3, source=network.conv("c", 4))
    operators, before, after = network.finish(a, b, wide, tight, deeper)
    # a, b and c become one.
    assert operators == {"Conv": 4, "Split": 1}
    assert_same(before, after)


def test_convolutions_with_groups_stay() -> None:
    network = Convolutions()
    operators, before, after = network.finish(
        network.conv("a", 4, group=4), network.conv("b", 4, group=4)
    )
    assert operators == {"Conv": 2}
    assert_same(before, after)


def test_a_convolution_that_runtimes_fuse_with_its_activation_stays() -> None:
    network = Convolutions()
    a, b = network.conv("a", 3), network.conv("b", 3)
    active = network.graph.node("Relu", [a], a.shape, name="active")
    operators, before, after = network.finish(active, b)
    assert operators == {"Conv": 2, "Relu": 1}
    assert_same(before, after)


def test_the_default_model_gives_the_same_boxes_and_scores_to_the_bit(tmp_path: Path) -> None:
    files = {}
    for merging in (False, True):
        files[merging] = tmp_path / f"{merging}.onnx"
        options = Options(output=Kind.HEADS, merge=merging, widen=False, verify=False)
        convert_file(
            MODEL / "deploy.prototxt", MODEL / "weights.caffemodel", files[merging], options
        )
    image = np.random.default_rng(0).integers(0, 256, (2, 640, 640, 3)).astype(np.uint8)
    plain, merged = (
        ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(
            None, {"images": image}
        )
        for file in files.values()
    )
    for one, other in zip(plain, merged, strict=True):
        assert np.array_equal(one, other)
    counts = {
        merging: Counter(node.op_type for node in onnx.load(file).graph.node)
        for merging, file in files.items()
    }
    # Ten heads on five feature layers become five.
    assert counts[False]["Conv"] - counts[True]["Conv"] == 5


def test_the_command_can_switch_it_off(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    sources = [str(MODEL / "deploy.prototxt"), str(MODEL / "weights.caffemodel")]
    assert main(["convert", *sources, "-o", str(out), "--no-verify", "--no-merge"]) == 0
    names = {tensor.name for tensor in onnx.load(out).graph.initializer}
    assert not any("merged" in name for name in names)
    assert any("mbox_conf" in name for name in names)
