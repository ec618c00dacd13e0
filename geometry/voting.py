"""Box voting: averages the boxes that several predictions give for one face."""

import numpy as np

from geometry.arrays import F32, I64
from geometry.boxes import iou


def vote(boxes: F32, scores: F32, kept: I64, overlap: float = 0.5) -> F32:
    """The `kept` boxes [K, 4], each moved to the mean of the `boxes` [N, 4] that overlap it.

    The mean is weighted by the scores [N]: section 4 of Gidaris and Komodakis 2015
    (arXiv:1505.01749).
    The box with the best score is often not the most accurate one.
    """
    shared = np.asarray(iou(boxes[kept].astype(np.float64), boxes.astype(np.float64)))
    weights = np.where(shared >= overlap, scores[None], 0)
    # A box with no area overlaps nothing, not even itself.
    weights[np.arange(len(kept)), kept] = np.maximum(scores[kept], 1e-6)
    voted = weights @ boxes / weights.sum(1, keepdims=True)
    return np.asarray(voted, np.float32)
