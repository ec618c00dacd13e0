"""Makes faces unrecognizable: only a few patches of mean colour are left of each.

A Gaussian blur of the pixels would not be enough: it can be partly undone, and a network can
identify a face behind a mild blur. Both styles keep only the face's averages over a grid of `CELLS`
cells. They differ in how the cells are painted.
"""

from collections.abc import Callable
from typing import Literal

from PIL import Image

from geometry.arrays import Floats

CELLS = 6
"""Cells along the longer side of a hidden rectangle, whatever its size."""
MARGIN = 0.15
"""The rectangle is the face's box grown on each side by this part of its width or height, since
boxes end at the chin and the brows, or a little inside."""


def hide(
    image: Image.Image,
    boxes: Floats,
    style: Literal["blur", "pixelate"],
    check: Callable[[], None] = lambda: None,
) -> Image.Image:
    """A copy of an RGB image with the rectangles around `boxes` [N, 4] averaged away.

    `blur` goes smoothly from cell to cell, `pixelate` in blocks. The rectangles are grown by
    MARGIN and rounded outwards to whole pixels. `check` is called before each: hundreds of large
    ones take half a minute, and what it raises ends the work.
    """
    hidden = image.copy()
    upscale = Image.Resampling.BICUBIC if style == "blur" else Image.Resampling.NEAREST
    for area in areas(boxes, image.width, image.height):
        check()
        left, top, right, bottom = area
        width, height = right - left, bottom - top
        cell = max(width, height) / CELLS
        grid = (max(1, round(width / cell)), max(1, round(height / cell)))
        # Read the already changed picture, so that of two overlapping faces neither reappears.
        means = hidden.resize(grid, Image.Resampling.BOX, box=area)
        hidden.paste(means.resize((width, height), upscale), area)
    return hidden


def areas(boxes: Floats, width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The rectangles to hide, as whole pixels of the image; none is empty."""
    found = []
    for x1, y1, x2, y2 in boxes.tolist():
        across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        left, top = max(int(x1 - across), 0), max(int(y1 - down), 0)
        right, bottom = min(int(x2 + across) + 1, width), min(int(y2 + down) + 1, height)
        if right > left and bottom > top:
            found.append((left, top, right, bottom))
    return found
