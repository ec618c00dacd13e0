"""Which prior answers for which face, as SSD's `MatchBBox` decides (bbox_util.cpp)."""

from dataclasses import dataclass

import numpy as np

from geometry.arrays import F32, I64, Bools
from geometry.boxes import iou

NOBODY = -1
OUTSIDE = -2
"""A prior that crosses the image's border where such priors are ignored."""

_LEAST = 1e-6


@dataclass(frozen=True)
class Matches:
    """The face of each prior."""

    faces: I64
    """[P]: index of the face, or NOBODY or OUTSIDE."""
    overlaps: F32
    """[P]: IoU with the face that the prior overlaps most, or with its own face."""


def match(
    priors: F32,
    faces: F32,
    threshold: float,
    *,
    per_prediction: bool = True,
    ignore_crossing: bool = False,
) -> Matches:
    """Give each face of `faces` [G, 4] its best prior of `priors` [P, 4], then each prior a face.

    First, greedily, the pair that overlaps most of all that are still free, until each face has
    a prior. Then, `per_prediction`, each other prior gets the face that it overlaps most, if by
    at least `threshold`. Of equal overlaps the lower prior wins, then the lower face.
    """
    owners = np.full(len(priors), NOBODY, np.int64)
    best = np.zeros(len(priors), np.float32)
    inside: Bools = np.ones(len(priors), np.bool_)
    if ignore_crossing:
        inside = np.asarray(((priors >= 0) & (priors <= 1)).all(1), np.bool_)
        owners[~inside] = OUTSIDE
    if not len(faces) or not len(priors):
        return Matches(owners, best)
    shared = iou(faces, priors)
    shared[:, ~inside] = 0
    shared[shared <= _LEAST] = 0
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
        rest = (owners == NOBODY) & (shared.max(0) >= max(threshold, _LEAST))
        owners[rest] = favourite[rest]
    return Matches(owners, best)
