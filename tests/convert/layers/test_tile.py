"""Tile against NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def tiled(parameter: str) -> str:
    return f"""layer {{ name: "tile" type: "Tile" bottom: "data" top: "tile"
                        tile_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("parameter", "counts"),
    [
        ("tiles: 3", (1, 3, 1, 1)),
        ("axis: 2 tiles: 2", (1, 1, 2, 1)),
        ("axis: -1 tiles: 4", (1, 1, 1, 4)),
    ],
)
def test_tile_repeats_an_axis(
    run: Run, images: Callable[..., F32], parameter: str, counts: tuple[int, ...]
) -> None:
    """OpenCV has no Tile for Caffe files."""
    x = images(2, 3, 4)
    np.testing.assert_array_equal(run(tiled(parameter), x)["tile"], np.tile(x, counts))


@pytest.mark.parametrize(
    ("parameter", "message"), [("", "tiles is missing"), ("axis: 0 tiles: 2", "keep the batch")]
)
def test_tiles_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str, message: str
) -> None:
    (found,) = problems(tiled(parameter), images(2, 3, 4))
    assert message in found
