"""Axpy against Caffe's formula: OpenCV swaps x and y."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


AXPY = 'layer { name: "f" type: "Axpy" bottom: "a" bottom: "x" bottom: "y" top: "f" }'


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_each_channel_is_scaled_and_the_third_bottom_added(
    run: Run, images: Images, shape: tuple[int, ...]
) -> None:
    a, x, y = images(*shape), images(4, 3, 5), images(4, 3, 5)
    found = run(AXPY, {"a": a, "x": x, "y": y})["f"]
    np.testing.assert_allclose(found, a.reshape(7, 4, 1, 1) * x + y, rtol=1e-5, atol=1e-6)


def test_opencv_agrees_once_the_bottoms_are_swapped(run: Run, opencv: Run, images: Images) -> None:
    inputs = {"a": images(4, 1, 1), "x": images(4, 3, 5), "y": images(4, 3, 5)}
    swapped = AXPY.replace('bottom: "x" bottom: "y"', 'bottom: "y" bottom: "x"')
    np.testing.assert_allclose(
        run(AXPY, inputs)["f"], opencv(swapped, inputs)["f"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (4, 3, 5), (4, 3, 5)), "expected a first bottom of shape [batch, 4]"),
        (((4, 2, 1), (4, 3, 5), (4, 3, 5)), "expected a first bottom of shape [batch, 4]"),
        (((4,), (4, 3, 5), (4, 3, 6)), "bottom y: expected shape [batch, 4, 3, 5]"),
    ],
)
def test_bottoms_that_do_not_fit_are_explained(
    problems: Problems, images: Images, shapes: tuple[tuple[int, ...], ...], message: str
) -> None:
    (found,) = problems(AXPY, dict(zip("axy", (images(*s) for s in shapes), strict=True)))
    assert message in found
