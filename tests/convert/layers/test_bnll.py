"""BNLL against OpenCV and by its formula."""

from collections.abc import Callable

import numpy as np

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
LAYER = 'layer { name: "f" type: "BNLL" bottom: "data" top: "f" }'


def bnll(x: F32) -> F32:
    """ln(1 + eˣ) without an overflow."""
    return np.asarray(np.logaddexp(0, x.astype(np.float64)), np.float32)


def test_agrees_with_opencv(agree: Run, images: Callable[..., F32]) -> None:
    agree(LAYER, 5 * images(3, 4, 5))


def test_large_numbers_do_not_overflow(run: Run) -> None:
    x = np.tile(np.array([[-200, -60, -1, 0, 1, 60, 200]], np.float32), (7, 1))
    np.testing.assert_allclose(run(LAYER, x)["f"], bnll(x), rtol=1e-5, atol=1e-30)
