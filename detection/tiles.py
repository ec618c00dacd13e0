"""Cuts a large image into tiles at several scales, and joins the faces found in them.

Shrunk to the network's input, a large image loses its small faces. So the network also sees
overlapping tiles of it at full resolution, and tiles at scales in between if the step from the
tiles to the whole image is large.

Why no face is missed: neighbouring tiles overlap by a quarter of a tile, 160 of 640 pixels. A face
up to `seen_whole` of a level's pixels lies whole in one of its tiles; a larger one appears, `STEP`
times smaller at most, hence still at 36 pixels or more, on the next coarser level, and the coarsest
is the whole image. For the same reason a box at a tile's inner border can be dropped: it is part of
a face that is seen whole in another tile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from geometry.arrays import Bools, Floats

STEP = 4
"""Largest ratio of the scales of two neighbouring levels."""
OVERLAP = 4
"""Neighbouring tiles share at least the OVERLAP-th part of their side."""
MARGIN = 8
"""A box that ends within so many pixels of the network's input of an inner border is cut off."""
MOST = 64
"""The most network inputs made from one image, including the whole: some seconds of a CPU. A
12-megapixel photograph has 58 at full resolution."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the image, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def layout(
    image_width: int, image_height: int, input_width: int, input_height: int, most: int = MOST
) -> tuple[Tile, ...]:
    """The rectangles that the network looks at: the whole image, then tiles, coarse to fine.

    An image that fits into the input has no tiles. The finest tiles are at full resolution, or at
    the finest resolution that takes at most `most` rectangles in all. Tiles are aligned to the
    image's edges and evenly spaced between.
    """
    whole = Tile(0, 0, image_width, image_height)
    shrinking = max(image_width / input_width, image_height / input_height)
    finest = 1.0
    while finest < shrinking:
        tiles = [whole]
        for zoom in _levels(finest, shrinking):
            width = min(round(input_width * zoom), image_width)
            height = min(round(input_height * zoom), image_height)
            columns, rows = _count(image_width, width), _count(image_height, height)
            if len(tiles) + columns * rows > most:
                break
            tiles += [
                Tile(left, top, width, height)
                for top in _starts(image_height, height, rows)
                for left in _starts(image_width, width, columns)
            ]
        else:
            return tuple(tiles)
        finest *= 1.02
    return (whole,)


def seen_whole(input_side: int) -> int:
    """Side of the largest face, in a level's pixels, that always lies whole in one of its tiles."""
    return input_side // OVERLAP - 2 * MARGIN


def crop(image: Image.Image, tile: Tile) -> Image.Image:
    """The part of the image inside the tile; the image itself if the tile covers all of it."""
    if (tile.width, tile.height) == image.size:
        return image
    return image.crop((tile.left, tile.top, tile.left + tile.width, tile.top + tile.height))


def uncut(boxes: Floats, tile: Tile, image_width: int, image_height: int, margin: float) -> Bools:
    """Which of `boxes` [N, 4], in pixels of the image, the tile sees whole.

    A box is cut if it ends within `margin` pixels of a tile border that is not also the image's
    border: the face continues beyond it.
    """
    right, bottom = tile.left + tile.width, tile.top + tile.height
    low = np.asarray([tile.left, tile.top], np.float64)
    high = np.asarray([right, bottom], np.float64)
    inner_low = np.where(low > 0, low + margin, -np.inf)
    inner_high = np.where(high < [image_width, image_height], high - margin, np.inf)
    return np.asarray(
        np.all((boxes[:, :2] >= inner_low) & (boxes[:, 2:] <= inner_high), axis=1), np.bool_
    )


def gather(
    tiles: Sequence[Tile],
    found: Sequence[tuple[Floats, Floats]],
    input_width: int,
    input_height: int,
) -> tuple[Floats, Floats]:
    """The detections of all tiles of `layout` that lie whole in their tile, as one list before NMS.

    `found` holds, for each tile, boxes [N, 4] in pixels of the tile and scores [N]. Returns boxes
    [M, 4] in pixels of the image and their scores [M].
    """
    whole = tiles[0]
    boxes, scores = [], []
    for tile, (tile_boxes, tile_scores) in zip(tiles, found, strict=True):
        offset = np.asarray([tile.left, tile.top] * 2, tile_boxes.dtype)
        moved = tile_boxes + offset
        zoom = max(tile.width / input_width, tile.height / input_height)
        kept = uncut(moved, tile, whole.width, whole.height, MARGIN * zoom)
        boxes.append(moved[kept])
        scores.append(tile_scores[kept])
    return np.concatenate(boxes), np.concatenate(scores)


def _levels(finest: float, shrinking: float) -> list[float]:
    """Pixels of the image for one of a tile, of each level from coarse to fine, the whole left out.

    A geometric series: the steps are equal and at most STEP.
    """
    steps = math.ceil(math.log(shrinking / finest, STEP) - 1e-9)
    ratio = (shrinking / finest) ** (1 / steps)
    return [finest * ratio**power for power in range(steps - 1, -1, -1)]


def _count(length: int, tile: int) -> int:
    """How many tiles cover one side, with the first and the last at the image's edges."""
    if length <= tile:
        return 1
    overlap = min(math.ceil(tile / OVERLAP), tile - 1)
    return math.ceil((length - overlap) / (tile - overlap))


def _starts(length: int, tile: int, count: int) -> list[int]:
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]
