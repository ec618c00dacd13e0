"""Resizes an image of any size to the input of the network."""

import numpy as np
from PIL import Image

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
    full_size: tuple[int, int] | None = None,
) -> tuple[Pixels, Letterbox]:
    """The network's input as uint8 [height, width, channels], and the image's position in it.

    Resized with Pillow's BILINEAR, which averages over the source area when it shrinks, and centred
    on `background`: after the network's mean subtraction the padding is zero. For an image that was
    decoded at a reduced scale, `full_size` is its full width and height, which determine its
    position.
    """
    box = Letterbox.fit(*(full_size or image.size), width, height)
    resized = image.resize((box.width, box.height), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (width, height), background)
    canvas.paste(resized, (box.left, box.top))
    if channels == 1:
        return np.asarray(canvas.convert("L"))[:, :, None], box
    return np.asarray(canvas), box
