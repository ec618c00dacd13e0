"""Layers that only move elements, or pass them on."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Concat")
def concat(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The bottoms one after the other along `axis` (concat_layer.cpp)."""
    parameter = layer.parameter.concat_param
    old = parameter.HasField("concat_dim")
    return np.concatenate(bottoms, axis=parameter.concat_dim if old else parameter.axis)


@formula("Slice")
def slice_layer(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """The bottom cut along `axis` at each slice_point, or into equal parts (slice_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.slice_param
    axis = parameter.slice_dim if parameter.HasField("slice_dim") else parameter.axis
    cuts = list(parameter.slice_point)
    return np.split(x, cuts or len(layer.tops), axis=axis)


@formula("Crop")
def crop(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The first bottom cut to the size of the second, from `offset` on (crop_layer.cpp)."""
    x, like = bottoms
    parameter = layer.parameter.crop_param
    first = parameter.axis % x.ndim
    offsets = list(parameter.offset) or [0]
    if len(offsets) == 1:
        offsets *= x.ndim - first
    for axis, offset in enumerate(offsets, start=first):
        x = x.take(range(offset, offset + like.shape[axis]), axis=axis)
    return x


@formula("Permute")
def permute(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The axes in another order; those left out follow (permute_layer.cpp of SSD's Caffe)."""
    (x,) = bottoms
    order = list(layer.parameter.permute_param.order)
    return x.transpose(order + [axis for axis in range(x.ndim) if axis not in order])


@formula("Flatten")
def flatten(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The axes from `axis` to `end_axis` made one (flatten_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.flatten_param
    start, end = parameter.axis % x.ndim, parameter.end_axis % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


@formula("Reshape")
def reshape(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Another shape from `axis` on: 0 copies an axis, -1 is what is left (reshape_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.reshape_param
    start = parameter.axis if parameter.axis >= 0 else x.ndim + parameter.axis + 1
    end = x.ndim if parameter.num_axes == -1 else start + parameter.num_axes
    dims = [dim or x.shape[start + place] for place, dim in enumerate(parameter.shape.dim)]
    return x.reshape(*x.shape[:start], *dims, *x.shape[end:])


@formula("Tile")
def tile(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The bottom `tiles` times one after the other along `axis` (tile_layer.cpp)."""
    parameter = layer.parameter.tile_param
    return np.concatenate([bottoms[0]] * parameter.tiles, axis=parameter.axis)


@formula("Split")
def split(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Each top is the bottom (split_layer.cpp)."""
    return [bottoms[0]] * len(layer.tops)


@formula("Silence")
def silence(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Nothing (silence_layer.cpp)."""
    return []


@formula("Dropout")
def dropout(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The bottom (dropout_layer.cpp); with the forks' `scale_train: false` scaled down."""
    parameter = layer.parameter.dropout_param
    return bottoms[0] if parameter.scale_train else bottoms[0] * (1 - parameter.dropout_ratio)


@formula("ShuffleChannel")
def shuffle_channel(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Channels as group rows, read by columns (ShuffleNet's shuffle_channel_layer.cpp)."""
    (x,) = bottoms
    batch, channels = x.shape[:2]
    group = layer.parameter.shuffle_channel_param.group
    rows = x.reshape(batch, group, channels // group, -1)
    return rows.swapaxes(1, 2).reshape(x.shape)


@formula("Reorg")
def reorg(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Darknet's reorg, which reads its bottom as if it had the larger maps (reorg_layer.cpp)."""
    (x,) = bottoms
    parameter = layer.parameter.reorg_param
    stride = parameter.stride
    batch, channels, height, width = x.shape
    few = channels // stride**2
    y = np.empty(
        x.shape if not parameter.reverse else (batch, few, height * stride, width * stride)
    )
    wide = x.reshape(batch, few, height * stride, width * stride)
    for channel in range(channels):
        down, across = divmod(channel // few, stride)
        if parameter.reverse:
            y[:, channel % few, down::stride, across::stride] = x[:, channel]
        else:
            y[:, channel] = wide[:, channel % few, down::stride, across::stride]
    if parameter.reverse:
        return y
    return y.reshape(batch, channels * stride**2, height // stride, width // stride)


@formula("Reverse")
def reverse(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The elements along `axis` in the opposite order."""
    return np.flip(bottoms[0], layer.parameter.reverse_param.axis)


@formula("Flip")
def flip(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The image mirrored across, down, or both."""
    (x,) = bottoms
    parameter = layer.parameter.flip_param
    sides = ((3, parameter.flip_width), (2, parameter.flip_height))
    axes = list(parameter.axis) or [axis for axis, is_flipped in sides if is_flipped]
    return np.flip(x, tuple(axes))


@formula("Transpose")
def transpose(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The axes in another order (the forks' transpose_layer.cpp)."""
    parameter = layer.parameter.transpose_param
    return bottoms[0].transpose(list(parameter.dim or parameter.order or parameter.axis))


@formula("Parameter")
def parameter(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The blob itself (parameter_layer.hpp)."""
    shape = layer.parameter.parameter_param.shape.dim
    return layer.blobs[0].astype(np.float64).reshape(tuple(shape))


@formula("DummyData")
def dummy_data(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """A constant for each top (dummy_data_layer.cpp). Other fillers are refused."""
    given = layer.parameter.dummy_data_param
    shapes = [tuple(shape.dim) for shape in given.shape] or list(
        zip(given.num, given.channels, given.height, given.width, strict=True)
    )
    fillers = list(given.data_filler)
    values = [filler.value for filler in fillers] or [0.0]
    count = len(layer.tops)
    shapes *= count if len(shapes) == 1 else 1
    values *= count if len(values) == 1 else 1
    return [np.full(shape, value) for shape, value in zip(shapes, values, strict=True)]
