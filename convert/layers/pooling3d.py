"""Pooling3D."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import text
from convert.layers.pooling import Axis
from convert.layers.registry import LayerError, handler
from geometry.arrays import F64


@handler("Pooling3D")
def pooling3d(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The maximum or the average over time, height and width, ⌈(in + 2·pad − k) / stride⌉ + 1 long.

    `kernel_depth` and `temporal_stride` apply to time, which has no padding. An average is divided
    by the part of the window that lies in the input and its padding, not beyond. Caffe, C3D:
    src/caffe/layers/pool3d_layer.cpp.
    """
    (x,) = inputs
    own = layer.parameter.HasField("pooling3d_param")
    parameter = layer.parameter.pooling3d_param if own else layer.parameter.pooling_param
    if x.rank != 5:
        raise LayerError(
            "expected a bottom of shape [batch, channels, time, height, width], found "
            f"{text(x.shape)}"
        )
    if parameter.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
        raise LayerError("C3D can't compute pool STOCHASTIC; use MAX or AVE")
    average = parameter.pool == caffe_pb2.PoolingParameter.AVE
    if parameter.pad and not average:
        raise LayerError("C3D supports padding only for AVE; set pad to 0")
    if own and parameter.temporal_pad:
        raise LayerError("C3D has no padding in time; set temporal_pad to 0")
    side = (parameter.kernel_size, parameter.stride, parameter.pad)
    time = (parameter.kernel_depth, parameter.temporal_stride, 0)
    axes = [
        _axis(length, *numbers)
        for length, numbers in zip(map(x.static, (2, 3, 4)), (time, side, side), strict=True)
    ]
    shape = (*x.shape[:2], *(axis.count for axis in axes))
    kernel, strides = [axis.kernel for axis in axes], [axis.stride for axis in axes]
    pads = [*(axis.pad for axis in axes), *(axis.end for axis in axes)]
    if not average:
        return graph.node(
            "MaxPool",
            [x],
            shape,
            name=layer.tops[0],
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
        )
    pooled = graph.node(
        "AveragePool",
        [x],
        shape,
        count_include_pad=1,
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
    )
    counted = math.prod(kernel) / _counted(axes)
    constant = graph.constant(counted, f"{layer.name}/clipped")
    return graph.node("Mul", [pooled, constant], shape, name=layer.tops[0])


def _axis(length: int, kernel: int, stride: int, pad: int) -> Axis:
    if min(kernel, stride) < 1:
        raise LayerError(
            "state kernel_size and kernel_depth; they and the strides must be at least 1"
        )
    if pad >= kernel:
        raise LayerError(f"pad {pad} must be smaller than the kernel, {kernel}")
    count = math.ceil((length + 2 * pad - kernel) / stride) + 1
    if count < 1 or (count - 1) * stride >= length + pad:
        raise LayerError(
            f"a window of {kernel} with stride {stride} leaves the input of {length}, where "
            "Caffe's result is undefined; use another input size"
        )
    return Axis(length, kernel, stride, pad, count)


def _counted(axes: Sequence[Axis]) -> F64:
    """The divisor of each average, [time, height, width]."""
    time, height, width = (np.array(axis.counted, np.float64) for axis in axes)
    return time[:, None, None] * height[:, None] * width
