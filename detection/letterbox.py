"""Resizes an image of any size to the input of the network."""

import numpy as np
from PIL import Image

from detection.orientation import Turn, swaps, turned, turned_size
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
    reduction: int = 1,
    full_size: tuple[int, int] | None = None,
) -> tuple[Pixels, Letterbox]:
    """The network's input as uint8 [height, width, channels], and the image's position in it.

    Resized with Pillow's BILINEAR, which averages over the source area when it shrinks, and centred
    on `background`: after the network's mean subtraction the padding is zero. `turn` turns the
    image upright. If it was decoded at a reduced scale, each of its pixels stands for `reduction`
    times `reduction` pixels, and `full_size` is the upright original's width and height.
    """
    upright = full_size or turned_size(image.size, turn)
    box = Letterbox.fit(*upright, width, height)
    across, down = turned_size(upright, turn)
    covered = across / reduction, down / reduction
    resized = _resize_upright(image, covered, turn, (box.width, box.height))
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(resized, (box.left, box.top))
    if channels == 1:
        return np.asarray(canvas.convert("L"))[:, :, None], box
    return np.asarray(canvas), box


def _resize_upright(
    image: Image.Image, covered: tuple[float, float], turn: Turn, size: tuple[int, int]
) -> Image.Image:
    """The `covered` width and height of the image, turned upright and resized to `size`.

    It is turned last, because turning a large picture costs as much as resizing it. The pixels are
    the same: Pillow resizes the width first and rounds, so here the side that will be the width
    comes first.
    """
    width, height = turned_size(size, turn)
    right, bottom = covered
    if swaps(turn):
        image = _resize(image, (image.width, height), (image.width, bottom))
        bottom = height
    return turned(_resize(image, (width, height), (right, bottom)), turn)


def _resize(image: Image.Image, size: tuple[int, int], covered: tuple[float, float]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, box=(0, 0, *covered))
