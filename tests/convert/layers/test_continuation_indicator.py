"""ContinuationIndicator against its meaning: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
TIME, INPUTS, OUTPUTS = 5, 6, 4


def layers(parameter: str = f"time_step: {TIME} batch_size: 1") -> str:
    return f"""
    layer {{ name: "c" type: "ContinuationIndicator" top: "cont"
             continuation_indicator_param {{ {parameter} }} }}
    layer {{ name: "lstm" type: "LSTM" bottom: "data" bottom: "cont" top: "h"
             recurrent_param {{ num_output: {OUTPUTS} }} }}"""


@pytest.fixture
def blobs(rng: np.random.Generator) -> dict[str, list[F32]]:
    shapes = [(4 * OUTPUTS, INPUTS), (4 * OUTPUTS,), (4 * OUTPUTS, OUTPUTS)]
    return {"lstm": [rng.normal(size=shape).astype(np.float32) for shape in shapes]}


@pytest.mark.parametrize("batch", [1, 3])
def test_a_sequence_begins_at_the_first_step(
    to_onnx: Callable[..., onnx.ModelProto],
    infer: Run,
    rng: np.random.Generator,
    blobs: dict[str, list[F32]],
    batch: int,
) -> None:
    x = rng.normal(size=(TIME, batch, INPUTS)).astype(np.float32)
    shapes = {"data": (TIME, "batch", INPUTS)}
    alone = 'layer { name: "lstm" type: "LSTM" bottom: "data" top: "h" recurrent_param { '
    expected = infer(f"{alone} num_output: {OUTPUTS} }} }}", x, blobs, shapes)["h"]
    np.testing.assert_array_equal(infer(layers(), x, blobs, shapes)["h"], expected)
    model = to_onnx(layers(), x, blobs, shapes)
    assert [node.op_type for node in model.graph.node] == ["LSTM", "Squeeze"]


def test_the_top_itself_is_0_and_then_1(infer: Run) -> None:
    text = layers().split("layer {")[1]
    relu = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    found = infer(f"layer {{{text} {relu}", np.ones((1, 2), np.float32))["cont"]
    np.testing.assert_array_equal(found, [[0], [1], [1], [1], [1]])


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("time_step: 5", "time_step and batch_size must be at least 1"),
        ("time_step: 2000000 batch_size: 1", "the limit is 1000000"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], parameter: str, message: str
) -> None:
    found = problems(layers(parameter), np.ones((TIME, 1, INPUTS), np.float32))
    assert message in found[0]
