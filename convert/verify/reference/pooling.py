"""Pooling, window by window."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64, I64, Bools


@formula(
    "Pooling",
    jumps=lambda layer: (
        len(layer.tops) == 2
        or layer.parameter.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC
    ),
)
def pooling(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """The maximum or the mean of each window, as pooling_layer.cpp cuts the windows.

    The number of windows is rounded up (down with the forks' `round_mode: FLOOR`,
    `ceil_mode: false` and `torch_pooling: true`). A mean divides by the part of the window that
    lies in the image and its padding. A second top says where in the image each maximum lies.
    """
    return pooled(bottoms[0], layer.parameter.pooling_param)[: len(layer.tops)]


def pooled(x: F64, parameter: caffe_pb2.PoolingParameter) -> list[F64]:
    """The maximum or mean of each window, and the places of the maxima in the image.

    STOCHASTIC gives Σ x² / Σ x, or 0 where Σ x is not positive (pooling_layer.cu, without TRAIN).
    """
    if parameter.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
        means = caffe_pb2.PoolingParameter()
        means.CopyFrom(parameter)
        means.pool = caffe_pb2.PoolingParameter.AVE
        squares, total = pooled(x**2, means)[0], pooled(x, means)[0]
        safe = np.where(total > 0, total, 1)
        return [np.where(total > 0, squares / safe, 0)]
    average = parameter.pool == caffe_pb2.PoolingParameter.AVE
    rows, columns = _windows(parameter, x.shape[2], 0), _windows(parameter, x.shape[3], 1)
    shape = (*x.shape[:2], len(rows), len(columns))
    y = np.zeros(shape) if average else np.full(shape, -np.inf)
    places = np.zeros(shape)
    for down in range(max(end - begin for begin, end, _ in rows)):
        for across in range(max(end - begin for begin, end, _ in columns)):
            top, in_rows = _pixels(rows, down)
            left, in_columns = _pixels(columns, across)
            seen = x[:, :, top[:, None], left]
            inside = in_rows[:, None] & in_columns
            if average:
                y += np.where(inside, seen, 0)
            else:
                larger = inside & (seen > y)
                y = np.where(larger, seen, y)
                places = np.where(larger, top[:, None] * x.shape[3] + left, places)
    if average:
        y /= np.outer([size for *_, size in rows], [size for *_, size in columns])
    return [y, places]


def _pixels(windows: list[tuple[int, int, int]], position: int) -> tuple[I64, Bools]:
    """The pixel at a position in each window, and whether it lies in the window."""
    first = np.asarray([begin for begin, *_ in windows])
    last = np.asarray([end for _, end, _ in windows]) - 1
    return np.minimum(first + position, last), first + position <= last


def _windows(
    parameter: caffe_pb2.PoolingParameter, length: int, axis: int
) -> list[tuple[int, int, int]]:
    """Begin and end of each window within the image, and the length that a mean counts."""
    if parameter.global_pooling:
        return [(0, length, length)]
    kernel = (parameter.kernel_h, parameter.kernel_w)[axis] or parameter.kernel_size
    stride = (parameter.stride_h, parameter.stride_w)[axis] or parameter.stride
    pads = (parameter.pad_h, parameter.pad_w)
    pads = pads if any(pads) else (parameter.pad, parameter.pad)
    pad = pads[axis]
    down = parameter.round_mode == caffe_pb2.PoolingParameter.FLOOR or not parameter.ceil_mode
    round_to = math.floor if down or parameter.torch_pooling else math.ceil
    count = round_to((length + 2 * pad - kernel) / stride) + 1
    if any(pads) and (count - 1) * stride >= length + pad:
        count -= 1
    windows: list[tuple[int, int, int]] = []
    for index in range(count):
        begin = index * stride - pad
        end = min(begin + kernel, length + pad)
        windows.append((max(begin, 0), min(end, length), end - begin))
    return windows
