"""Compares the faces of one network in two precisions, or on two providers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from detection.detector import Query, faces_of
from detection.letterbox import Pixels, letterbox
from detection.precision import Precision
from detection.predictions import Predictions
from geometry.arrays import F64, I64
from geometry.boxes import iou
from sfd.distribution import HOME
from store.int8 import Agreement
from store.model import Model

PHOTOGRAPH = HOME / "service" / "static" / "sample.jpg"
SAME_FACE = 0.5
"""IoU from which two boxes are the same face."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far the faces of a precision may be from those of float32."""

    iou: float
    """The least, of each face."""
    score: float
    """The largest difference, of each face."""


BOUNDS: Mapping[Precision, Bound] = {
    Precision.FLOAT32: Bound(iou=0.99, score=0.001),
    Precision.BFLOAT16: Bound(iou=0.95, score=0.03),
    Precision.INT8: Bound(iou=0.8, score=0.15),
}


def builtin_pictures(model: Model) -> list[Pixels]:
    """The photograph that comes with sfd as the network takes it: whole, and as a mosaic.

    The mosaic shows it in four sizes, down to an eighth, so that small faces are compared too.
    """
    size = model.input.width, model.input.height
    background = model.input.mean_rgb
    with Image.open(PHOTOGRAPH) as file:
        photograph = file.convert("RGB")
    mosaic = Image.new("RGB", photograph.size, background)
    left = 0
    for divisor in (2, 3, 4, 8):
        width, height = photograph.width // divisor, photograph.height // divisor
        small = photograph.resize((width, height), Image.Resampling.BILINEAR)
        # A staircase of the sizes, from one corner to the other.
        mosaic.paste(small, (min(left, mosaic.width - width), min(left, mosaic.height - height)))
        left += width
    return [
        letterbox(each, *size, model.input.channels, background)[0] for each in (photograph, mosaic)
    ]


def match(
    model: Model, expected: Predictions, found: Predictions, slack: float = 0.0
) -> tuple[F64, F64, int]:
    """The faces of `expected` with those of `found`, at the model's default score.

    Returns the IoU [expected faces] of each with its partner, 0 without one, the difference of
    their scores [expected faces], and the number of faces found. A face of `found` may have a score
    lower by `slack`. Each is the partner of at most one: the best pairs are taken first.
    """
    score = model.thresholds.default_score
    ours = faces_of(expected, model.thresholds, Query(min_score=score))
    theirs = faces_of(found, model.thresholds, Query(min_score=max(score - slack, 0.0)))
    overlaps = np.zeros(len(ours))
    differences = np.zeros(len(ours))
    for one, other, overlap in _pairs(expected, ours, found, theirs):
        overlaps[one] = overlap
        differences[one] = abs(
            float(expected.scores[ours[one]]) - float(found.scores[theirs[other]])
        )
    return overlaps, differences, len(theirs)


def agrees(
    model: Model,
    precision: Precision,
    reference: Sequence[Predictions],
    other: Sequence[Predictions],
) -> bool:
    """Whether each face of either side is on the other side too, within the precision's bound."""
    bound = BOUNDS[precision]
    for one, another in zip(reference, other, strict=True):
        for expected, found in ((one, another), (another, one)):
            overlaps, differences, _ = match(model, expected, found, bound.score)
            if (overlaps < bound.iou).any() or (differences > bound.score).any():
                return False
    return True


def measure(
    model: Model, reference: Sequence[Predictions], other: Sequence[Predictions]
) -> Agreement | None:
    """How well the faces agree; None if the reference has no face, or none is matched."""
    overlaps, differences, found = [], [], 0
    for one, another in zip(reference, other, strict=True):
        overlap, difference, count = match(model, one, another)
        overlaps.append(overlap)
        differences.append(difference)
        found += count
    each = np.concatenate(overlaps)
    matched = each > 0
    if not matched.any():
        return None
    ious = each[matched]
    return Agreement(
        images=len(reference),
        faces=len(each),
        matched=round(float(matched.mean()), 4),
        extra=found - int(matched.sum()),
        iou_median=round(float(np.median(ious)), 4),
        iou_p5=round(float(np.percentile(ious, 5)), 4),
        score_difference=round(float(np.concatenate(differences).max()), 4),
    )


def _pairs(
    expected: Predictions, ours: I64, found: Predictions, theirs: I64
) -> list[tuple[int, int, float]]:
    """(index in `ours`, index in `theirs`, IoU) of each pair of one face."""
    if not (len(ours) and len(theirs)):
        return []
    overlaps = iou(expected.boxes[ours], found.boxes[theirs])
    pairs: list[tuple[int, int, float]] = []
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        one, other = divmod(int(flat), len(theirs))
        overlap = float(overlaps[one, other])
        if overlap < SAME_FACE:
            break
        if all(one != i and other != j for i, j, _ in pairs):
            pairs.append((one, other, overlap))
    return pairs
