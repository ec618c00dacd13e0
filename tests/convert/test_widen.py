"""Convolutions with few outputs are computed as a wide 1x1 convolution and a sum."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from convert.conversion import convert_file
from convert.graph import BATCH, GraphBuilder
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.quantization import head_nodes
from convert.widen import widen
from geometry.arrays import F32
from sfd.cli import main

MODEL = Path(__file__).parents[2] / "model_store" / "sfd-640-mobilenetv2-mod2"


def outputs(model: onnx.ModelProto, feed: F32) -> F32:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: F32 = session.run(None, {"data": feed})[0]
    return found


def converted(
    *, channels: int = 6, inputs: int = 128, kernel: tuple[int, ...] = (3, 3), bias: bool = True,
    weights: F32 | None = None, **attributes: Any,
) -> tuple[Counter[str], F32, F32]:  # fmt: skip
    """Operators after widening one convolution, and its output before and after."""
    graph, random = GraphBuilder(), np.random.default_rng(0)
    data = graph.input("data", (BATCH, inputs, *[9] * len(kernel)))
    if weights is None:
        shape = (channels, inputs // attributes.get("group", 1), *kernel)
        weights = random.normal(size=shape).astype(np.float32)
    constants = [graph.constant(weights, "conv/weight")]
    if bias:
        constants.append(graph.constant(random.normal(size=channels), "conv/bias"))
    spread = attributes.get("dilations", [1] * len(kernel))
    steps = attributes.get("strides", [1] * len(kernel))
    pads = attributes.get("pads", [0] * 2 * len(kernel))
    sides = [
        (9 + pads[axis] + pads[axis + len(kernel)] - spread[axis] * (size - 1) - 1) // steps[axis]
        + 1
        for axis, size in enumerate(kernel)
    ]
    made = graph.node(
        "Conv", [data, *constants], (BATCH, channels, *sides), name="conv",
        kernel_shape=list(kernel), **attributes,
    )  # fmt: skip
    graph.output("conv", made)
    before = graph.model("before")
    widen(graph)
    after = graph.model("after")
    onnx.checker.check_model(after, full_check=True)
    feed = random.normal(size=(2, inputs, *[9] * len(kernel))).astype(np.float32)
    operators = Counter(node.op_type for node in after.graph.node)
    return operators, outputs(before, feed), outputs(after, feed)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 3], "bias": False},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"kernel": (5, 3), "channels": 1},
        {"kernel": (3,), "channels": 4},
        {"kernel": (3, 3, 3), "channels": 2},
    ],
    ids=str,
)
def test_a_narrow_convolution_gives_the_same_results_as_two(options: dict[str, Any]) -> None:
    operators, before, after = converted(**options)
    assert operators == {"Conv": 2}
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 16},
        {"channels": 12},
        {"inputs": 64},
        {"kernel": (1, 1)},
        {"strides": [2, 2]},
        {"group": 2},
        {"weights": np.full((6, 128, 3, 3), np.inf, np.float32)},
    ],
    ids=["block", "nearly-a-block", "few-inputs", "1x1", "stride", "groups", "infinite"],
)
def test_where_it_would_not_pay_nothing_changes(options: dict[str, Any]) -> None:
    operators, before, after = converted(**options)
    assert operators == {"Conv": 1}
    np.testing.assert_array_equal(after, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The default model, not widened and widened."""
    folder = tmp_path_factory.mktemp("widened")
    made = {}
    for widening in (False, True):
        made[widening] = folder / f"{widening}.onnx"
        options = Options(output=Kind.HEADS, widen=widening, verify=False)
        convert_file(
            MODEL / "deploy.prototxt", MODEL / "weights.caffemodel", made[widening], options
        )
    return made


def test_four_of_the_default_models_heads_are_widened(files: dict[bool, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 640, 640, 3)).astype(np.uint8)
    plain, wide = (
        ort.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(
            None, {"images": image}
        )
        for file in files.values()
    )
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    counts = {
        widening: Counter(node.op_type for node in onnx.load(file).graph.node)
        for widening, file in files.items()
    }
    assert counts[True] - counts[False] == {"Conv": 4}


def test_int8_leaves_both_halves_of_a_widened_head_in_float32(files: dict[bool, Path]) -> None:
    graph = onnx.load(files[True]).graph
    kept = head_nodes(graph)
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    assert [name for name in convolutions if name in kept] == [
        name for name in convolutions if "mbox" in name
    ]
    assert sum("/taps" in name for name in kept) == 4


def test_the_command_can_switch_it_off(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    sources = [str(MODEL / "deploy.prototxt"), str(MODEL / "weights.caffemodel")]
    assert main(["convert", *sources, "-o", str(out), "--no-verify", "--no-widen"]) == 0
    names = {tensor.name for tensor in onnx.load(out).graph.initializer}
    assert not any("taps" in name for name in names)
    assert any("merged" in name for name in names)
