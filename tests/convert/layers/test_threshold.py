"""Threshold against its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def threshold(x: F32, limit: float) -> F32:
    """1 where x is above the limit, else 0."""
    return (x > np.float32(limit)).astype(np.float32)


@pytest.mark.parametrize("limit", [0, 0.1, -1.5])
@pytest.mark.parametrize("shape", [(6,), (2, 3, 4)])
def test_only_values_above_the_threshold_become_1(
    run: Run, images: Callable[..., F32], limit: float, shape: tuple[int, ...]
) -> None:
    x = images(*shape)
    x.reshape(-1)[:3] = limit  # equal is not above
    parameter = f"threshold_param {{ threshold: {limit} }}" if limit else ""
    text = f'layer {{ name: "t" type: "Threshold" bottom: "data" top: "t" {parameter} }}'
    np.testing.assert_array_equal(run(text, x)["t"], threshold(x, limit))
