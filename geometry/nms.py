"""Greedy non-maximum suppression, as Caffe does it."""

import numpy as np

from geometry.arrays import I64, Floats
from geometry.boxes import iou


def nms(
    boxes: Floats, scores: Floats, iou_threshold: float, top_k: int = -1, limit: int = -1
) -> I64:
    """Indices of the kept boxes of `boxes` [N, 4], sorted by `scores` [N], best first.

    Caffe's `ApplyNMSFast`: take the boxes by descending score (equal scores: lowest index first),
    the first `top_k` of them (all if negative), and drop each one that overlaps a box already kept
    by more than `iou_threshold`. At most `limit` are kept (all if negative). They come best first,
    so this equals cutting the full result, and it bounds the time.
    """
    order = np.argsort(-scores, kind="stable")
    if top_k >= 0:
        order = order[:top_k]
    kept: list[int] = []
    while order.size and len(kept) != limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        overlap = iou(boxes[best : best + 1], boxes[order])[0]
        # Caffe compares two float32 values: with 0.3 as a double, an overlap of float32(0.3) would
        # be dropped.
        order = order[overlap <= overlap.dtype.type(iou_threshold)]
    return np.asarray(kept, np.int64)
