"""The second look: a second inference on a smaller copy of an image, for faces that nearly fill it.

A network that learned from small scenes sees a face of 500 pixels in parts. On a copy at 35 % the
face has 175 pixels, and the network finds it whole.

    first look ── no large face likely ──────────────────────────────▶ predictions
        └─ a large face likely ─▶ copy ─▶ second network ─▶ large boxes ─▶ join ─▶ predictions
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from detection.letterbox import Colour, Pixels
from detection.predictions import Predictions
from geometry.arrays import F64, Bools, Floats
from geometry.boxes import area, intersection
from geometry.nms import nms
from store.model import SecondLook

MIN_SCORE = 0.01
"""Predictions up to this score are neither added nor dropped; there are thousands of them."""
NMS_IOU = 0.3
"""Boxes of one look that overlap more are one face."""
INSIDE = 0.7
"""The least share of a box inside the box of a face that makes it a part of that face."""
LARGER = 1.5
"""How many times the area of a part the box of its face has at least."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The places of the copy in the second input, in the two inputs' pixels.

    The copy has `width` x `height` pixels and lies at `left`, `top` of an input of `side` x `side`.
    """

    side: int
    width: int
    height: int
    left: int
    top: int

    @classmethod
    def of(cls, look: SecondLook, width: int, height: int) -> "Frame":
        """The copy of a first input of `width` x `height` pixels, in the middle."""
        small = max(round(width * look.scale), 1), max(round(height * look.scale), 1)
        return cls(look.side, *small, (look.side - small[0]) // 2, (look.side - small[1]) // 2)

    def copy(self, pixels: Pixels, background: Colour) -> Pixels:
        """The second input [side, side, channels] for the first, on `background` (RGB)."""
        channels = pixels.shape[2]
        image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
        small = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        canvas = np.empty((self.side, self.side, channels), np.uint8)
        canvas[:] = background[:channels]
        bottom, right = self.top + self.height, self.left + self.width
        canvas[self.top : bottom, self.left : right] = np.asarray(small).reshape(
            self.height, self.width, channels
        )
        return canvas

    def restored(self, boxes: Floats) -> Floats:
        """Boxes [N, 4] in fractions of the second input, as fractions of the first."""
        offset = np.asarray([self.left, self.top] * 2, boxes.dtype)
        size = np.asarray([self.width, self.height] * 2, boxes.dtype)
        return (boxes * boxes.dtype.type(self.side) - offset) / size


def is_wanted(first: Predictions, look: SecondLook, width: int, height: int) -> bool:
    """Whether the first look, at an input of `width` x `height` pixels, sees a large face likely.

    A large part of one counts too. A loose box around a smaller face with a higher score does not.
    """
    likely = np.flatnonzero(first.scores > np.float32(look.trigger))
    kept = likely[nms(first.boxes[likely], first.scores[likely], NMS_IOU)]
    return bool(_large(first.boxes[kept], look, width, height).any())


def join(
    first: Predictions, second: Predictions, look: SecondLook, width: int, height: int
) -> Predictions:
    """The predictions of both looks, in fractions of the first input of `width` x `height` pixels.

    The large boxes of the second look are added, those of one face once. The first look's boxes
    that are a part of such a face, with no higher score, are dropped. No step depends on a
    threshold of the request, so a higher `min_score` only removes faces.
    """
    likely = second.scores > np.float32(MIN_SCORE)
    large = np.flatnonzero(likely & _large(second.boxes, look, width, height))
    kept = large[nms(second.boxes[large], second.scores[large], NMS_IOU)]
    boxes, scores = second.boxes[kept], second.scores[kept]
    whole = ~_parts(first, boxes, scores)
    return Predictions(
        np.concatenate([first.boxes[whole], boxes]),
        np.concatenate([first.scores[whole], scores]),
        first.looks + second.looks,
    )


def _large(boxes: Floats, look: SecondLook, width: int, height: int) -> Bools:
    # Untrained weights give infinite boxes.
    with np.errstate(over="ignore", invalid="ignore"):
        sides = (boxes[:, 2:] - boxes[:, :2]) * np.asarray([width, height], boxes.dtype)
    return np.asarray(sides.min(axis=1) >= look.min_side, np.bool_)


def _parts(first: Predictions, boxes: Floats, scores: Floats) -> Bools:
    """Which of the first look's boxes are a part of one of `boxes` [N, 4] that scores as high."""
    parts = np.zeros(len(first.scores), np.bool_)
    for box, score in zip(boxes.astype(np.float64), scores, strict=True):
        below = np.flatnonzero((first.scores > np.float32(MIN_SCORE)) & (first.scores <= score))
        own: F64 = first.boxes[below].astype(np.float64)
        areas = area(own)
        common = intersection(own, box[None])[:, 0]
        inside = (common >= INSIDE * areas) & (area(box[None])[0] >= LARGER * areas)
        parts[below[inside]] = True
    return parts
