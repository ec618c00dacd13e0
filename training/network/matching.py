"""Matches priors to faces as SSD's `MatchBBox` does (bbox_util.cpp)."""

from dataclasses import dataclass

import numpy as np

from geometry.arrays import F32, I64, Bools
from geometry.boxes import iou

UNMATCHED = -1
"""The match of a prior without a face."""
OUTSIDE = -2
"""The match of a prior that crosses the image's border, if such priors are ignored."""

_MIN_IOU = 1e-6


@dataclass(frozen=True)
class Matches:
    """The face that each prior is matched to."""

    faces: I64
    """[P]: index of the face, UNMATCHED or OUTSIDE."""
    overlaps: F32
    """[P]: IoU with the matched face, or else the greatest IoU with any face."""


def match(
    priors: F32,
    faces: F32,
    threshold: float,
    *,
    per_prediction: bool = True,
    ignore_crossing: bool = False,
) -> Matches:
    """Match `priors` [P, 4] to `faces` [G, 4].

    First, each face gets a prior: of all free pairs, the one with the greatest IoU is matched,
    until no face is free. Then, if `per_prediction`, each other prior is matched to the face with
    the greatest IoU, if that is at least `threshold`. On equal IoU the lower prior wins, then the
    lower face.
    """
    owners = np.full(len(priors), UNMATCHED, np.int64)
    best = np.zeros(len(priors), np.float32)
    inside: Bools = np.ones(len(priors), np.bool_)
    if ignore_crossing:
        inside = np.asarray(((priors >= 0) & (priors <= 1)).all(1), np.bool_)
        owners[~inside] = OUTSIDE
    if not len(faces) or not len(priors):
        return Matches(owners, best)
    shared = iou(faces, priors)
    shared[:, ~inside] = 0
    shared[shared <= _MIN_IOU] = 0
    best = shared.max(0)
    free = shared.copy()
    tops = free.argmax(1)
    waiting = set(range(len(faces)))
    while waiting:
        face = min(waiting, key=lambda row: (-free[row, tops[row]], tops[row], row))
        prior = tops[face]
        if free[face, prior] == 0:
            break
        owners[prior], best[prior] = face, free[face, prior]
        waiting.remove(face)
        free[:, prior] = 0
        for row in waiting:
            if tops[row] == prior:
                tops[row] = free[row].argmax()
    if per_prediction:
        favourite = shared.argmax(0)
        rest = (owners == UNMATCHED) & (shared.max(0) >= max(threshold, _MIN_IOU))
        owners[rest] = favourite[rest]
    return Matches(owners, best)
