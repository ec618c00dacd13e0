"""Correlation against OpenCV and by FlowNet's formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "c" type: "Correlation" bottom: "data" bottom: "b" top: "c"
                        correlation_param {{ {parameter} }} }}"""


def correlation(
    a: F32,
    b: F32,
    *,
    pad: int,
    kernel: int,
    reach: int,
    stride: int,
    step: int,
    subtract: bool = False,
) -> F32:
    """The mean product, or distance, of patches `stride` apart and displaced ones."""
    count, channels, height, width = a.shape
    edges = [(0, 0), (0, 0), (pad, pad), (pad, pad)]
    a, b = np.pad(a, edges).astype(np.float64), np.pad(b, edges).astype(np.float64)
    border = reach + (kernel - 1) // 2
    rows, columns = (-(-(side + 2 * pad - 2 * border) // stride) for side in (height, width))
    radius = reach // step
    shifts = [index * step for index in range(-radius, radius + 1)]
    result = np.zeros((count, len(shifts) ** 2, rows, columns))
    for y, x in np.ndindex(rows, columns):
        top, left = y * stride + reach, x * stride + reach
        patch = a[:, :, top : top + kernel, left : left + kernel]
        for channel, (down, across) in enumerate((d, e) for d in shifts for e in shifts):
            other = b[
                :, :, top + down : top + down + kernel, left + across : left + across + kernel
            ]
            found = np.abs(patch - other) if subtract else patch * other
            result[:, channel, y, x] = found.sum((1, 2, 3)) / (kernel**2 * channels)
    return np.asarray(result, np.float32)


CASES = [
    {"pad": 4, "kernel": 1, "reach": 4, "stride": 1, "step": 2},
    {"pad": 3, "kernel": 1, "reach": 3, "stride": 2, "step": 1},
    {"pad": 3, "kernel": 3, "reach": 2, "stride": 1, "step": 1},
    {"pad": 4, "kernel": 3, "reach": 5, "stride": 2, "step": 2},
    {"pad": 0, "kernel": 1, "reach": 0, "stride": 1, "step": 1},
]


def parameter(case: dict[str, int]) -> str:
    return (
        f"pad: {case['pad']} kernel_size: {case['kernel']} max_displacement: {case['reach']} "
        f"stride_1: {case['stride']} stride_2: {case['step']}"
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("subtract", [False, True])
def test_is_flownets_formula(
    run: Run, images: Callable[..., F32], case: dict[str, int], subtract: bool
) -> None:
    a, b = images(3, 9, 8), images(3, 9, 8)
    text = parameter(case) + (" correlation_type: SUBTRACT" if subtract else "")
    found = run(layer(text), {"data": a, "b": b})["c"]
    expected = correlation(a, b, **case, subtract=subtract)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES[:2])
def test_agrees_with_opencv(agree: Run, images: Callable[..., F32], case: dict[str, int]) -> None:
    agree(layer(parameter(case)), {"data": images(3, 9, 8), "b": images(3, 9, 8)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel_size: 2 max_displacement: 1", "expected an odd number"),
        ("kernel_size: 1 max_displacement: 40 pad: 60", "6561 displacements"),
        ("kernel_size: 1 max_displacement: 8 stride_2: 2", "state a larger pad"),
        ("kernel_size: 1 max_displacement: 1 stride_1: 0", "must be at least 1"),
        ("kernel_size: 1 max_displacement: 1 single_direction: 1", "Correlation1D"),
        ("kernel_size: 1 max_displacement: 1 pad: 9000", "the limit is 16384"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], text: str, message: str
) -> None:
    (found,) = problems(layer(text), {"data": images(3, 9, 8), "b": images(3, 9, 8)})
    assert message in found


def test_bottoms_must_be_of_one_shape(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    bottoms = {"data": images(3, 9, 8), "b": images(3, 9, 9)}
    (found,) = problems(layer("kernel_size: 1 max_displacement: 1"), bottoms)
    assert "expected bottoms of one shape" in found
