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
    top_left = np.maximum(one[:, None, :2], other[None, :, :2])
    bottom_right = np.minimum(one[:, None, 2:], other[None, :, 2:])
    with np.errstate(over="ignore", invalid="ignore"):
        sides = np.maximum(bottom_right - top_left, 0)
        return np.asarray(sides[..., 0] * sides[..., 1])


def iou(one: Floats, other: Floats) -> Floats:
    """Intersection over union [N, M] of `one` [N, 4] and `other` [M, 4], in 0–1.

    Caffe's `JaccardOverlap`, in the arrays' own precision and its order of operations:
    intersection / (area of one + area of other - intersection), and 0 without an intersection.
    """
    common = intersection(one, other)
    with np.errstate(over="ignore", invalid="ignore"):
        union = area(one)[:, None] + area(other)[None, :] - common
        return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def clip(boxes: Floats, width: float, height: float) -> Floats:
    """The parts of `boxes` [N, 4] inside 0, 0, width, height; a new array.

    A box that lies outside becomes an empty one on the nearest edge.
    """
    return np.clip(boxes, 0, np.asarray([width, height, width, height], boxes.dtype))
