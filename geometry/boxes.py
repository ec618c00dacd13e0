"""Boxes as arrays: `boxes` [N, 4] as x1, y1, x2, y2, in any one unit, with no +1 in any formula.

A box is half-open: its width is x2 - x1. A box whose corners are swapped has no area, as in Caffe
(`BBoxSize` with normalized coordinates). Untrained weights give boxes of any size, even infinite
ones. They overflow without a warning, as in Caffe.
"""

import numpy as np

from geometry.arrays import Floats


def area(boxes: Floats) -> Floats:
    """Areas [N] of `boxes` [N, 4]; 0 if a box's corners are swapped."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = boxes[:, 2] - boxes[:, 0]
        height = boxes[:, 3] - boxes[:, 1]
        return np.where((width < 0) | (height < 0), 0, width * height)


def intersection(one: Floats, other: Floats) -> Floats:
    """Areas [N, M] of the intersections of `one` [N, 4] and `other` [M, 4]."""
    return _common(one.T[:, :, None], other.T[:, None])


def iou(one: Floats, other: Floats) -> Floats:
    """Intersection over union [N, M] of `one` [N, 4] and `other` [M, 4], in 0–1.

    Caffe's `JaccardOverlap`, in the arrays' own precision and its order of operations:
    intersection / (area of one + area of other - intersection), and 0 without an intersection.
    """
    return iou_of_rows(rows(one)[:, :, None], rows(other)[:, None])


def rows(boxes: Floats) -> Floats:
    """A row [5, N] for each coordinate of `boxes` [N, 4], and one for the areas."""
    return np.stack([*boxes.T, area(boxes)])


def iou_of_rows(one: Floats, other: Floats) -> Floats:
    """`iou` of boxes as `rows` gives them [5, ...], in shapes that broadcast."""
    common = _common(one, other)
    with np.errstate(over="ignore", invalid="ignore"):
        union = one[4] + other[4] - common
        return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=common > 0))


def _common(one: Floats, other: Floats) -> Floats:
    """Areas of intersections of boxes as rows of x1, y1, x2, y2, in shapes that broadcast."""
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.maximum(np.minimum(one[2], other[2]) - np.maximum(one[0], other[0]), 0)
        height = np.maximum(np.minimum(one[3], other[3]) - np.maximum(one[1], other[1]), 0)
        return np.asarray(width * height)


def clip(boxes: Floats, width: float, height: float) -> Floats:
    """The parts of `boxes` [N, 4] inside 0, 0, width, height; a new array.

    A box that lies outside becomes an empty one on the nearest edge.
    """
    return np.clip(boxes, 0, np.asarray([width, height, width, height], boxes.dtype))
