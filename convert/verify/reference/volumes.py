"""Convolution3D, Pooling3D, and the layers with weights of their own at each place."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.convolution import biased, convolved, window_of
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Convolution3D")
def convolution3d(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """A convolution over time, height and width (C3D's convolution3d_layer.cpp)."""
    (x,) = bottoms
    own = layer.parameter.HasField("convolution3d_param")
    parameter = layer.parameter.convolution3d_param if own else layer.parameter.convolution_param
    stride, pad = (
        (first, *[(number if isinstance(number, int) else [*number, default][0])] * 2)
        for first, number, default in (
            (parameter.temporal_stride, parameter.stride, 1),
            (parameter.temporal_pad, parameter.pad, 0),
        )
    )
    weight = layer.blobs[0].astype(np.float64)
    weight = weight.reshape(
        parameter.group, parameter.num_output // parameter.group, -1, *weight.shape[-3:]
    )
    return biased(layer, convolved(x, weight, stride, pad, (1, 1, 1)))


@formula("Pooling3D")
def pooling3d(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The maximum or mean of each window in time, height and width (C3D's pool3d_layer.cpp).

    A mean divides by the part of the window that lies in the images and their padding.
    """
    (x,) = bottoms
    own = layer.parameter.HasField("pooling3d_param")
    parameter = layer.parameter.pooling3d_param if own else layer.parameter.pooling_param
    average = parameter.pool == caffe_pb2.PoolingParameter.AVE
    side = (parameter.kernel_size, parameter.stride, parameter.pad)
    time = (parameter.kernel_depth, parameter.temporal_stride, 0)
    spans: list[list[tuple[int, int, int]]] = []
    for length, (kernel, stride, pad) in zip(x.shape[2:], (time, side, side), strict=True):
        count = math.ceil((length + 2 * pad - kernel) / stride) + 1
        starts = [index * stride - pad for index in range(count)]
        ends = [min(start + kernel, length + pad) for start in starts]
        spans.append(
            [
                (max(start, 0), min(end, length), end - start)
                for start, end in zip(starts, ends, strict=True)
            ]
        )
    y = np.empty((*x.shape[:2], *map(len, spans)))
    for place in itertools.product(*(range(len(span)) for span in spans)):
        windows = [span[index] for span, index in zip(spans, place, strict=True)]
        cut = tuple(slice(begin, end) for begin, end, _ in windows)
        window = x[(slice(None), slice(None), *cut)]
        at: tuple[slice | int, ...] = (slice(None), slice(None), *place)
        if average:
            size = math.prod(length for *_, length in windows)
            y[at] = window.sum(axis=(2, 3, 4)) / size
        else:
            y[at] = window.max(axis=(2, 3, 4))
    return y


@formula("Local", "LocallyConnected", "locally_connected")
def local(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Σ weight[o, tap, place] · window[tap] + bias[o, place] (the forks' local_layer.cpp)."""
    (x,) = bottoms
    outputs, biases, kernel, stride, pad = _local_window(layer)
    padded = np.pad(x, [(0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2])
    rows, columns = ((padded.shape[2 + axis] - kernel[axis]) // stride[axis] + 1 for axis in (0, 1))
    weight = layer.blobs[0].astype(np.float64).reshape(outputs, -1, rows * columns)
    y = np.empty((len(x), outputs, rows * columns))
    for place in range(rows * columns):
        top, left = place // columns * stride[0], place % columns * stride[1]
        window = padded[:, :, top : top + kernel[0], left : left + kernel[1]]
        y[:, :, place] = window.reshape(len(x), -1) @ weight[:, :, place].T
    if biases:
        y += layer.blobs[1].astype(np.float64).reshape(outputs, -1)
    return y.reshape(len(x), outputs, rows, columns)


def _local_window(
    layer: Layer,
) -> tuple[int, bool, Sequence[int], Sequence[int], Sequence[int]]:
    """Outputs, whether there are biases, kernel, stride and pad, by what forks call the field."""
    if layer.parameter.HasField("convolution_param"):
        shared = layer.parameter.convolution_param
        kernel, stride, pad, _ = window_of(shared, 2)
        return shared.num_output, shared.bias_term, kernel, stride, pad
    own = layer.parameter.HasField("locally_connected_param")
    parameter = layer.parameter.locally_connected_param if own else layer.parameter.local_param
    return (
        parameter.num_output,
        parameter.bias_term,
        (parameter.kernel_h or parameter.kernel_size, parameter.kernel_w or parameter.kernel_size),
        (parameter.stride_h or parameter.stride, parameter.stride_w or parameter.stride),
        (parameter.pad_h or parameter.pad, parameter.pad_w or parameter.pad),
    )
