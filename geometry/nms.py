"""Greedy non-maximum suppression, as Caffe does it."""

import numpy as np

from geometry.arrays import I64, Floats
from geometry.boxes import area


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
    # A row for each coordinate, and one for the areas, which stay the same.
    rest = np.stack([*boxes[order].T, area(boxes[order])])
    kept: list[int] = []
    while order.size and len(kept) != limit:
        kept.append(int(order[0]))
        best, rest, order = rest[:, 0], rest[:, 1:], order[1:]
        overlap = _iou(best, rest)
        # Caffe compares two float32 values: with 0.3 as a double, an overlap of float32(0.3) would
        # be dropped.
        clear = np.flatnonzero(overlap <= overlap.dtype.type(iou_threshold))
        rest, order = rest[:, clear], order[clear]
    return np.asarray(kept, np.int64)


def _iou(one: Floats, others: Floats) -> Floats:
    """What `geometry.boxes.iou` gives [N], in half its time.

    Of `one` [5] and `others` [5, N] as x1, y1, x2, y2, area.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.maximum(np.minimum(one[2], others[2]) - np.maximum(one[0], others[0]), 0)
        height = np.maximum(np.minimum(one[3], others[3]) - np.maximum(one[1], others[1]), 0)
        common = width * height
        union = one[4] + others[4] - common
        shares: Floats = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
        return shares
