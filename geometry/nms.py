"""Greedy non-maximum suppression, as Caffe does it."""

import numpy as np

from geometry.arrays import I64, Floats
from geometry.boxes import iou_of_rows, rows


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
    # Made once: the areas stay the same, and a coordinate of all boxes is read fast.
    rest = rows(boxes[order])
    kept: list[int] = []
    while order.size and len(kept) != limit:
        kept.append(int(order[0]))
        best, rest, order = rest[:, 0], rest[:, 1:], order[1:]
        overlap = iou_of_rows(best, rest)
        # Caffe compares two float32 values: with 0.3 as a double, an overlap of float32(0.3) would
        # be dropped.
        clear = np.flatnonzero(overlap <= overlap.dtype.type(iou_threshold))
        rest, order = rest[:, clear], order[clear]
    return np.asarray(kept, np.int64)
