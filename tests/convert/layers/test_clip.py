"""Clip against its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return (
        f'layer {{ name: "c" type: "Clip" bottom: "data" top: "c" clip_param {{ {parameter} }} }}'
    )


@pytest.mark.parametrize("shape", [(6,), (2, 3, 4)])
def test_values_end_at_the_limits(
    run: Run, images: Callable[..., F32], shape: tuple[int, ...]
) -> None:
    x = images(*shape)
    found = run(layer("min: -0.25 max: 0.5"), x)["c"]
    np.testing.assert_array_equal(found, np.clip(x, np.float32(-0.25), np.float32(0.5)))


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("max: 1", "clip_param needs min and max"),
        ("min: 1", "clip_param needs min and max"),
        ("min: 2 max: 1", "min 2 is above max 1"),
    ],
)
def test_limits_that_caffe_refuses_are_refused(
    problems: Problems, images: Callable[..., F32], parameter: str, expected: str
) -> None:
    (found,) = problems(layer(parameter), images(3, 4))
    assert expected in found


@pytest.mark.parametrize(
    ("parameter", "low", "high"),
    [("min: 0 max: inf", 0, np.inf), ("min: -inf max: 0.5", -np.inf, 0.5)],
)
def test_a_limit_may_be_infinite(
    run: Run, images: Callable[..., F32], parameter: str, low: float, high: float
) -> None:
    x = images(2, 3, 4)
    np.testing.assert_array_equal(run(layer(parameter), x)["c"], np.clip(x, low, high))
