"""Cuts faces out of an image."""

from collections.abc import Iterator

from PIL import Image

from geometry.arrays import Floats

MARGIN = 0.25
"""Default margin on each side, as a fraction of the box's longer side."""
SIZE = 256
"""Default longest side of a crop in pixels."""
MAX_MARGIN = 2.0
MAX_SIZE = 1024


def cut(
    image: Image.Image, boxes: Floats, *, margin: float = MARGIN, size: int = SIZE
) -> Iterator[Image.Image]:
    """A crop of an RGB image for each of `boxes` [N, 4] in its pixels.

    Each box grows on all sides by `margin` times its longer side, is rounded outwards to whole
    pixels, and ends at the image's edges. A crop whose longer side is above `size` is shrunk to it.
    No crop is enlarged.
    """
    for x1, y1, x2, y2 in boxes.tolist():
        grown = margin * max(x2 - x1, y2 - y1)
        left, top = max(int(x1 - grown), 0), max(int(y1 - grown), 0)
        right = min(int(x2 + grown) + 1, image.width)
        bottom = min(int(y2 + grown) + 1, image.height)
        crop = image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        crop.thumbnail((size, size), Image.Resampling.BICUBIC)
        yield crop
