"""Layers that put elements into another order, and constants."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2, data_layers
from convert.caffe.network import Layer
from convert.verify.reference.pooling import pooled
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Axpy")
def axpy(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The sum a · x + y, one number a for each channel (axpy_layer.cpp of SENet's Caffe)."""
    a, x, y = bottoms
    return a.reshape(*x.shape[:2], *[1] * (x.ndim - 2)) * x + y


@formula("ShuffleChannel")
def shuffle_channel(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Channel i of group g moves to i · group + g (shuffle_channel_layer.cpp)."""
    (x,) = bottoms
    group = layer.parameter.shuffle_channel_param.group
    columns = x.shape[1] // group
    y = np.empty_like(x)
    for row in range(group):
        for column in range(columns):
            y[:, column * group + row] = x[:, row * columns + column]
    return y


@formula("Transpose")
def transpose(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The axes in the order given (transpose_layer.cpp)."""
    parameter = layer.parameter.transpose_param
    return bottoms[0].transpose(list(parameter.dim or parameter.order or parameter.axis))


@formula("Flip")
def flip(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The image mirrored (flip_layer.cpp)."""
    parameter = layer.parameter.flip_param
    (x,) = bottoms
    rows = x[:, :, ::-1] if parameter.flip_height else x
    return rows[..., ::-1] if parameter.flip_width else rows


@formula("Reverse")
def reverse(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The elements along an axis backwards (reverse_layer.cpp)."""
    return np.flip(bottoms[0], layer.parameter.reverse_param.axis)


@formula("Reorg")
def reorg(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Darknet's reorg_cpu, which steps through the bottom as if it had larger planes."""
    (x,) = bottoms
    stride = layer.parameter.reorg_param.stride
    images, channels, height, width = x.shape
    planes = channels // stride**2
    source = x.reshape(images, planes, height * stride, width * stride)
    y = np.empty_like(x)
    for channel in range(channels):
        offset, plane = divmod(channel, planes)
        down, across = divmod(offset, stride)
        y[:, channel] = source[:, plane, down::stride, across::stride]
    return y.reshape(images, channels * stride**2, height // stride, width // stride)


@formula("SPP")
def spp(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The image pooled to 2^i × 2^i bins on each level i (spp_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.spp_param
    levels: list[F64] = []
    for level in range(parameter.pyramid_height):
        bins = 2**level
        kernel = [int(np.ceil(side / bins)) for side in x.shape[2:]]
        pad = [
            (size * bins - side + 1) // 2 for size, side in zip(kernel, x.shape[2:], strict=True)
        ]
        window = caffe_pb2.PoolingParameter(
            kernel_h=kernel[0], kernel_w=kernel[1], stride_h=kernel[0], stride_w=kernel[1],
            pad_h=pad[0], pad_w=pad[1], pool=int(parameter.pool),  # type: ignore[arg-type]
        )  # fmt: skip
        levels.append(pooled(x, window)[0])
    if len(levels) == 1:
        return levels[0]
    return np.concatenate([each.reshape(len(x), -1) for each in levels], axis=1)


@formula("DummyData")
def dummy_data(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Each top filled with one value (dummy_data_layer.cpp)."""
    fillers = layer.parameter.dummy_data_param.data_filler
    values = [filler.value for filler in fillers] or [0.0]
    values *= len(layer.tops) if len(values) == 1 else 1
    shapes = data_layers.dummy_shapes(layer.parameter)
    return [np.full(shape, value) for shape, value in zip(shapes, values, strict=True)]


@formula("Parameter")
def parameter(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The layer's blob (parameter_layer.hpp)."""
    shape = layer.parameter.parameter_param.shape.dim
    return layer.blobs[0].astype(np.float64).reshape(*shape)
