"""Pooling, window by window."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Pooling", jumps=lambda layer: len(layer.tops) > 1)
def pooling(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """The maximum or the mean of each window, as pooling_layer.cpp cuts the windows.

    The number of windows is rounded up (down with the forks' `round_mode: FLOOR`,
    `ceil_mode: false` and `torch_pooling: true`). A mean divides by the part of the window that
    lies in the image and its padding. A second top is the mask: where the first maximum of a window
    lies in its plane, row · width + column.
    """
    (x,) = bottoms
    return pooled(x, layer.parameter.pooling_param)[: len(layer.tops)]


def pooled(x: F64, parameter: caffe_pb2.PoolingParameter) -> list[F64]:
    """The pooled image and, for maxima, the mask."""
    average = parameter.pool == caffe_pb2.PoolingParameter.AVE
    rows, columns = _windows(parameter, x.shape[2], 0), _windows(parameter, x.shape[3], 1)
    y = np.empty((*x.shape[:2], len(rows), len(columns)))
    mask = np.empty_like(y)
    for r, (top, bottom, height) in enumerate(rows):
        for c, (left, right, width) in enumerate(columns):
            window = x[:, :, top:bottom, left:right]
            if average:
                y[:, :, r, c] = window.sum(axis=(2, 3)) / (height * width)
            else:
                y[:, :, r, c] = window.max(axis=(2, 3))
                first = window.reshape(*x.shape[:2], -1).argmax(axis=2)
                down, across = np.divmod(first, right - left)
                mask[:, :, r, c] = (top + down) * x.shape[3] + left + across
    return [y] if average else [y, mask]


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
