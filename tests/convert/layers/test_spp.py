"""SPP against Caffe's formula: OpenCV computes another."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "SPP" bottom: "data" top: "new"
                       spp_param {{ {parameter} }} }}"""


def caffe_spp(x: F32, levels: int, average: bool) -> F32:
    """SPPLayer::GetPoolingParam and PoolingLayer::Forward_cpu, window by window."""
    height, width = x.shape[2:]
    parts: list[F32] = []
    for level in range(levels):
        bins = 2**level
        size = [-(-height // bins), -(-width // bins)]
        pad = [(size[0] * bins - height + 1) // 2, (size[1] * bins - width + 1) // 2]
        for channel in range(x.shape[1]):
            for row, column in np.ndindex(bins, bins):
                top, left = row * size[0] - pad[0], column * size[1] - pad[1]
                bottom = min(top + size[0], height + pad[0])
                right = min(left + size[1], width + pad[1])
                area = (bottom - top) * (right - left)
                window = x[:, channel, max(top, 0) : bottom, max(left, 0) : right]
                total = window.sum((1, 2)) / area if average else window.max((1, 2))
                parts.append(total)
    return np.stack(parts, 1)


@pytest.mark.parametrize("sides", [(8, 8), (13, 9), (7, 11)])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_every_level_is_pooled_and_flattened(
    run: Run, images: Images, sides: tuple[int, int], levels: int, pool: str
) -> None:
    x = images(3, *sides)
    found = run(layer(f"pyramid_height: {levels} pool: {pool}"), x)["new"]
    np.testing.assert_allclose(found, caffe_spp(x, levels, pool == "AVE"), rtol=1e-5, atol=1e-6)


def test_a_pyramid_of_one_level_keeps_its_axes(run: Run, images: Images) -> None:
    x = images(3, 6, 5)
    found = run(layer("pyramid_height: 1"), x)["new"]
    np.testing.assert_array_equal(found, x.max((2, 3), keepdims=True))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "pyramid_height is 0"),
        ("pyramid_height: 4", "too small for 4 by 4 bins"),
        ("pyramid_height: 40", "expected 1 to 16"),
        ("pyramid_height: 2 pool: STOCHASTIC", "STOCHASTIC"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Problems, images: Images, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(3, 5, 5))
    assert message in found
