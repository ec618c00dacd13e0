"""LRN against OpenCV and by Caffe's formulas."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "norm" type: "{layer_type}" bottom: "data" top: "norm" {parameter} }}'


@pytest.mark.parametrize(
    "parameter",
    [
        "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }",
        "lrn_param { local_size: 7 alpha: 0.0001 beta: 0.75 }",
        "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 beta: 0.6 }",
    ],
)
def test_lrn_agrees_with_opencv(agree: Run, images: Callable[..., F32], parameter: str) -> None:
    agree(layer("LRN", parameter), images(9, 5, 6))


@pytest.mark.parametrize(
    ("parameter", "size", "alpha", "beta", "k"),
    [("", 5, 1, 0.75, 1), ("lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 2 }", 3, 2, 0.5, 2)],
)
def test_lrn_across_channels_is_caffes_formula(
    run: Run,
    images: Callable[..., F32],
    parameter: str,
    size: int,
    alpha: float,
    beta: float,
    k: float,
) -> None:
    """OpenCV takes 0.0001 for a missing alpha and ignores k."""
    x = images(9, 2, 3)
    squares = np.pad(x**2, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(squares, size, axis=1)
    expected = x / (k + alpha / size * windows.sum(-1)) ** beta
    np.testing.assert_allclose(run(layer("LRN", parameter), x)["norm"], expected, rtol=1e-4)


def test_lrn_within_a_channel_averages_over_padded_windows(
    run: Run, images: Callable[..., F32]
) -> None:
    """x · (1 + alpha · mean of x² over 5 × 5 pixels, zeros outside) ^ −beta; k plays no part."""
    x = images(2, 6, 7)
    parameter = "lrn_param { norm_region: WITHIN_CHANNEL local_size: 5 alpha: 2 beta: 0.5 k: 9 }"
    squares = np.pad(x**2, [(0, 0), (0, 0), (2, 2), (2, 2)])
    windows = np.lib.stride_tricks.sliding_window_view(squares, (5, 5), axis=(2, 3))
    expected = x * (1 + 2 * windows.mean((-2, -1))) ** -0.5
    np.testing.assert_allclose(run(layer("LRN", parameter), x)["norm"], expected, rtol=1e-4)


def test_an_even_window_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("LRN", "lrn_param { local_size: 4 }"), images(9, 5, 6))
    assert "odd" in found
