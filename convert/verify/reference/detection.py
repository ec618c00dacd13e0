"""PriorBox, cell by cell. DetectionOutput stands in convert.verify.detections."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("PriorBox")
def prior_box(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Boxes around the centre of each cell as [1, 2, boxes · 4]: corners, then variances.

    Source: prior_box_layer.cpp of SSD's Caffe. The order within a cell is: for each min_size its
    square, the square of √(min_size · max_size), then one box for each aspect ratio but 1.
    """
    cells, image = bottoms
    parameter = layer.parameter.prior_box_param
    rows, columns = cells.shape[2:]
    height = float(parameter.img_h or parameter.img_size or image.shape[2])
    width = float(parameter.img_w or parameter.img_size or image.shape[3])
    step_y = parameter.step_h or parameter.step or height / rows
    step_x = parameter.step_w or parameter.step or width / columns
    shapes = np.asarray(_shapes(parameter)) / 2
    half = np.concatenate([-shapes, shapes], axis=1) / [width, height, width, height]
    boxes = np.empty((rows, columns, len(shapes), 4))
    for row in range(rows):
        for column in range(columns):
            x = (column + parameter.offset) * step_x / width
            y = (row + parameter.offset) * step_y / height
            boxes[row, column] = half + np.asarray([x, y, x, y])
    if parameter.clip:
        boxes = boxes.clip(0, 1)
    given = list(parameter.variance) or [0.1]
    variances = given * 4 if len(given) == 1 else given
    return np.stack([boxes.ravel(), np.tile(variances, boxes.size // 4)])[None]


def _shapes(parameter: caffe_pb2.PriorBoxParameter) -> list[tuple[float, float]]:
    """Width and height of each box of a cell, in pixels. Caffe keeps the sizes as integers."""
    ratios: list[float] = [1.0]
    for ratio in parameter.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in ratios):
            ratios += [ratio, 1 / ratio] if parameter.flip else [ratio]
    shapes: list[tuple[float, float]] = []
    for index, size in enumerate(map(int, parameter.min_size)):
        shapes.append((size, size))
        if parameter.max_size:
            both = math.sqrt(size * int(parameter.max_size[index]))
            shapes.append((both, both))
        roots = [math.sqrt(ratio) for ratio in ratios if abs(ratio - 1) >= 1e-6]
        shapes += [(size * root, size / root) for root in roots]
    return shapes
