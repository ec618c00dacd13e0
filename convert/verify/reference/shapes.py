"""Layers that only move elements, or pass them on."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Concat")
def concat(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The bottoms joined along `axis` (concat_layer.cpp)."""
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
    """The bottom repeated `tiles` times along `axis` (tile_layer.cpp)."""
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
