"""Resizes an image of any size to the input of the network."""

import numpy as np
from PIL import Image

from detection.orientation import Turn, turned, turned_size
from geometry.arrays import U8
from geometry.letterbox import Letterbox

Colour = tuple[int, int, int]
Pixels = U8


def letterbox(
    image: Image.Image,
    width: int,
    height: int,
    channels: int,
    background: Colour,
    *,
    turn: Turn = None,
    full_size: tuple[int, int] | None = None,
) -> tuple[Pixels, Letterbox]:
    """The network's input as uint8 [height, width, channels], and the image's position in it.

    Resized with Pillow's BILINEAR, which averages over the source area when it shrinks, and centred
    on `background`: after the network's mean subtraction the padding is zero. `turn` turns the
    image upright. For an image that was decoded at a reduced scale, `full_size` is the full width
    and height of the upright picture, which determine its position.
    """
    box = Letterbox.fit(*(full_size or turned_size(image.size, turn)), width, height)
    resized = _resize_upright(image, turn, (box.width, box.height))
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(resized, (box.left, box.top))
    if channels == 1:
        return np.asarray(canvas.convert("L"))[:, :, None], box
    return np.asarray(canvas), box


def _resize_upright(image: Image.Image, turn: Turn, size: tuple[int, int]) -> Image.Image:
    """The image, turned upright and resized to `size`.

    It is turned last, because turning a large picture costs as much as resizing it. The pixels are
    the same: Pillow resizes the width first and rounds, so here the side that will be the width
    comes first.
    """
    width, height = turned_size(size, turn)
    if (width, height) != size:
        image = image.resize((image.width, height), Image.Resampling.BILINEAR)
    return turned(image.resize((width, height), Image.Resampling.BILINEAR), turn)
