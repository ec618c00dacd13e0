"""Counts the boxes that a detector draws on images without faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geometry.arrays import F64
from training.evaluation.curves import Curve, Detections

RECALLS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The recalls at which detectors are compared, because their scores mean different things."""


def count(
    found: Sequence[Detections], faces: Sequence[F64], score: float, curves: Mapping[str, Curve]
) -> dict[str, Any] | None:
    """The boxes with at least `score` on images without faces; None if there are no such images.

    `at_recall` has their number at the scores at which the hardest subset of `curves` (the last)
    first has a recall of 0.5 to 0.9.
    """
    empty = [one for one, boxes in zip(found, faces, strict=True) if not len(boxes)]
    if not empty:
        return None
    scores = np.concatenate([each.scores for each in empty])
    curve = list(curves.values())[-1]
    at_recall = {}
    for recall in RECALLS:
        reached = np.flatnonzero(curve.recall >= recall)
        if curve.faces and len(reached):
            threshold = curve.thresholds[reached[0]]
            at_recall[str(recall)] = int((scores >= threshold).sum())
    return {
        "images": len(empty),
        "score": score,
        "boxes": int((scores >= score).sum()),
        "at_recall": at_recall,
    }
