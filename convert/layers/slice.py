"""Slice and Crop."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import canonical_axis
from convert.layers.registry import LayerError, handler


@handler("Slice", tops=(1, None))
def slice_layer(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The bottom cut along `axis` (in old files `slice_dim`) at each slice_point, or evenly.

    Caffe: src/caffe/layers/slice_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.slice_param
    old = parameter.HasField("slice_dim")
    axis = canonical_axis(parameter.slice_dim if old else parameter.axis, x.rank)
    length = x.static(axis)
    points = list(parameter.slice_point)
    count = len(layer.tops)
    if points and len(points) != count - 1:
        raise LayerError(f"expected {count - 1} slice_point values for {count} tops")
    if not points:
        if length % count:
            raise LayerError(f"{length} on axis {axis} can't be cut into {count} equal tops")
        points = [length // count * index for index in range(1, count)]
    edges = [0, *points, length]
    if any(start >= end for start, end in pairwise(edges)):
        raise LayerError(f"slice_point must rise from 1 to less than {length}, found {points}")
    if count == 1:
        return [x]
    return [
        cut(graph, x, {axis: (start, end)}, top)
        for top, start, end in zip(layer.tops, edges, edges[1:], strict=False)
    ]


@handler("Crop", bottoms=2)
def crop(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The first bottom cropped at `offset` to the second's size on every axis from `axis` on.

    There is one `offset` for all axes, or one for each. In files of FCN's and HED's Caffe, which
    state none, it is computed when they are read: convert.caffe.alignment. Caffe:
    src/caffe/layers/crop_layer.cpp.
    """
    x, reference = inputs
    parameter = layer.parameter.crop_param
    axis = canonical_axis(parameter.axis, x.rank)
    if reference.rank != x.rank:
        raise LayerError(
            f"the bottoms have {x.rank} and {reference.rank} dimensions; expected the same number"
        )
    offsets = list(parameter.offset) or [0]
    if len(offsets) == 1:
        offsets *= x.rank - axis
    if len(offsets) != x.rank - axis:
        raise LayerError(f"expected 1 or {x.rank - axis} offset values, found {len(offsets)}")
    ranges: dict[int, tuple[int, int]] = {}
    for position, offset in enumerate(offsets, start=axis):
        if x.shape[position] == reference.shape[position] and offset == 0:
            continue
        length, wanted = x.static(position), reference.static(position)
        if offset + wanted > length:
            raise LayerError(
                f"axis {position}: offset {offset} and size {wanted} reach past the {length} "
                f"of {layer.bottoms[0]}"
            )
        ranges[position] = (offset, offset + wanted)
    return cut(graph, x, ranges, layer.tops[0]) if ranges else x


def cut(graph: GraphBuilder, x: Value, ranges: dict[int, tuple[int, int]], name: str) -> Value:
    """Cut axes of x to ranges of indices, given as the first and one past the last."""
    shape = tuple(
        ranges[axis][1] - ranges[axis][0] if axis in ranges else dim
        for axis, dim in enumerate(x.shape)
    )
    bounds = [
        graph.constant(np.array(numbers, np.int64), f"{name}/{kind}")
        for kind, numbers in (
            ("starts", [start for start, _ in ranges.values()]),
            ("ends", [end for _, end in ranges.values()]),
            ("axes", list(ranges)),
        )
    ]
    return graph.node("Slice", [x, *bounds], shape, name=name, dtype=x.dtype)
