"""FlowNet's layers: FlowWarp and Correlation."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("FlowWarp", jumps=True)
def flow_warp(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The image at (x, y) + flow, between four pixels (FlowNet 2's flow_warp_layer.cpp)."""
    image, flow = bottoms
    height, width = image.shape[2:]
    zero = layer.parameter.flow_warp_param.fill_value == caffe_pb2.FlowWarpParameter.ZERO
    y = np.full(image.shape, 0.0 if zero else np.nan)
    for index in range(len(image)):
        for row in range(height):
            for column in range(width):
                # Caffe keeps the place in float32.
                x2 = np.float32(column) + np.float32(flow[index, 0, row, column])
                y2 = np.float32(row) + np.float32(flow[index, 1, row, column])
                if not (0 <= x2 < width and 0 <= y2 < height):
                    continue
                left, top = int(x2), int(y2)
                right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
                u, v = float(x2) - left, float(y2) - top
                y[index, :, row, column] = (
                    (1 - u) * (1 - v) * image[index, :, top, left]
                    + u * (1 - v) * image[index, :, top, right]
                    + (1 - u) * v * image[index, :, bottom, left]
                    + u * v * image[index, :, bottom, right]
                )
    return y


@formula("Correlation")
def correlation(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The mean product of a patch and each displaced patch (FlowNet's correlation_layer.cpp)."""
    parameter = layer.parameter.correlation_param
    pad, kernel, most = parameter.pad, parameter.kernel_size, parameter.max_displacement
    a, b = (np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]) for x in bottoms)
    border = most + kernel // 2
    rows, columns = (
        math.ceil((a.shape[axis] - 2 * border) / parameter.stride_1) for axis in (2, 3)
    )
    reach = most // parameter.stride_2
    moves = [index * parameter.stride_2 for index in range(-reach, reach + 1)]
    multiply = parameter.correlation_type == caffe_pb2.CorrelationParameter.MULTIPLY
    heights, widths = ((count - 1) * parameter.stride_1 + kernel for count in (rows, columns))
    one = a[:, :, most : most + heights, most : most + widths]
    y = np.zeros((len(a), len(moves) ** 2, rows, columns))
    for position, (down, across) in enumerate((v, u) for v in moves for u in moves):
        top, left = most + down, most + across
        other = b[:, :, top : top + heights, left : left + widths]
        both = (one * other if multiply else np.abs(one - other)).mean(axis=1)
        for v in range(kernel):
            for u in range(kernel):
                y[:, position] += both[:, v :: parameter.stride_1, u :: parameter.stride_1][
                    :, :rows, :columns
                ]
    return y / kernel**2
