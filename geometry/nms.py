"""Greedy non-maximum suppression, as Caffe does it."""

import numpy as np

from geometry.arrays import I64, Floats
from geometry.boxes import iou


def nms(
    boxes: Floats, scores: Floats, iou_threshold: float, top_k: int = -1, limit: int = -1
) -> I64:
    """Indices of the boxes kept of `boxes` [N, 4], best score of `scores` [N] first.

    Caffe's `ApplyNMSFast`: sort the boxes by descending score (equal scores: lowest index first)
    and take the first `top_k` (all if negative). Drop each box whose IoU with a box already kept
    is above `iou_threshold`. Stop after `limit` kept boxes (never if negative): the best come
    first, so this equals cutting the full answer, and it bounds the time.
    """
    order = np.argsort(-scores, kind="stable")
    if top_k >= 0:
        order = order[:top_k]
    kept: list[int] = []
    while order.size and len(kept) != limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        overlap = iou(boxes[best : best + 1], boxes[order])[0]
        # Caffe compares two float32: 0.3 as a double would drop an overlap of float32(0.3).
        order = order[overlap <= overlap.dtype.type(iou_threshold)]
    return np.asarray(kept, np.int64)
