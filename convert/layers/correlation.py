"""Correlation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.blobs import image_size, text
from convert.layers.registry import LayerError, handler

DISPLACEMENTS_LIMIT = 4096
"""FlowNet has 441."""
PADDED_LIMIT = 16_384
"""The longest padded side, in pixels."""


@dataclass(frozen=True)
class Axis:
    """The patches of the first image along one axis of the padded images."""

    length: int
    start: int
    """The first pixel of the first patch."""
    count: int
    extent: int
    """The number of pixels that all patches cover."""


@handler("Correlation", bottoms=2)
def correlation(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The mean product of a patch of the first image and each displaced patch of the second.

    There is a channel for each displacement, in steps of `stride_2` up to `max_displacement`, row
    by row. Patches are `kernel_size` wide and `stride_1` apart. SUBTRACT uses |a − b| instead of
    the product. Caffe, FlowNet and FlowNet 2: src/caffe/layers/correlation_layer.cpp and .cu.
    """
    a, b = inputs
    parameter = layer.parameter.correlation_param
    if a.shape != b.shape:
        raise LayerError(
            f"expected bottoms of one shape, found {text(a.shape)} and {text(b.shape)}"
        )
    kernel, stride, step = parameter.kernel_size, parameter.stride_1, parameter.stride_2
    if kernel % 2 == 0:
        raise LayerError(f"kernel_size is {kernel}; expected an odd number")
    if min(stride, step) < 1:
        raise LayerError("stride_1 and stride_2 must be at least 1")
    if parameter.single_direction:
        raise LayerError("single_direction belongs to Correlation1D; leave it out")
    reach = parameter.max_displacement // step
    if (2 * reach + 1) ** 2 > DISPLACEMENTS_LIMIT:
        raise LayerError(
            f"max_displacement {parameter.max_displacement} and stride_2 {step} make "
            f"{(2 * reach + 1) ** 2} displacements, more than the {DISPLACEMENTS_LIMIT} that can "
            "be converted"
        )
    axes = [_axis(layer, side) for side in image_size(a)]
    channels, rows, columns = a.static(1), *axes
    margin = parameter.pad
    a = _cut(layer, graph, a, margin, [(axis.start, axis.extent) for axis in axes])
    extra = reach * step
    # The columns for all displacements along x; the rows are cut for each displacement along y.
    wide = (columns.start - extra, columns.extent + 2 * extra)
    b = _cut(layer, graph, b, margin, [(rows.start - extra, rows.extent + 2 * extra), wide])
    shifts = [index * step for index in range(2 * reach + 1)]
    multiply = parameter.correlation_type == caffe_pb2.CorrelationParameter.MULTIPLY
    sums = (_products if multiply else _differences)(layer, graph, a, b, shifts)
    count = len(shifts) ** 2
    if kernel > 1 or stride > 1:
        sums = graph.node(
            "AveragePool",
            [sums],
            (a.shape[0], count, rows.count, columns.count),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
        )
    divisor = graph.constant(np.float32(channels), f"{layer.name}/channels")
    return graph.node("Div", [sums, divisor], sums.shape, name=layer.tops[0])


def _axis(layer: Layer, side: int) -> Axis:
    parameter = layer.parameter.correlation_param
    kernel, stride = parameter.kernel_size, parameter.stride_1
    padded = side + 2 * parameter.pad
    if padded > PADDED_LIMIT:
        raise LayerError(f"pad makes a side {padded} pixels long; the limit is {PADDED_LIMIT}")
    border = parameter.max_displacement + kernel // 2
    count = math.ceil((padded - 2 * border) / stride)
    if count < 1:
        raise LayerError(
            f"max_displacement and kernel_size need {2 * border + 1} pixels, but the padded input "
            f"has {padded}; state a larger pad or use a larger input size"
        )
    return Axis(padded, parameter.max_displacement, count, (count - 1) * stride + kernel)


def _cut(
    layer: Layer,
    graph: GraphBuilder,
    x: Value,
    margin: int,
    ranges: Sequence[tuple[int, int]],
) -> Value:
    """Cut rows and columns, each a start and a length, from a padded image."""
    height, width = image_size(x)
    if margin:
        pads = np.array([0, 0, margin, margin] * 2, np.int64)
        shape: Shape = (*x.shape[:2], height + 2 * margin, width + 2 * margin)
        x = graph.node("Pad", [x, graph.constant(pads, f"{layer.name}/pads")], shape)
    return _slice(layer, graph, x, ranges)


def _slice(layer: Layer, graph: GraphBuilder, x: Value, ranges: Sequence[tuple[int, int]]) -> Value:
    bounds = [
        graph.constant(np.array(numbers, np.int64), f"{layer.name}/{kind}")
        for kind, numbers in (
            ("starts", [start for start, _ in ranges]),
            ("ends", [start + length for start, length in ranges]),
            ("axes", [2, 3]),
        )
    ]
    shape = (*x.shape[:2], *(length for _, length in ranges))
    return graph.node("Slice", [x, *bounds], shape)


def _products(
    layer: Layer, graph: GraphBuilder, a: Value, b: Value, shifts: Sequence[int]
) -> Value:
    """Σ a · b over the channels, [batch, displacements, rows, columns].

    For each shift along y, one MatMul computes the products of all pairs of pixels of two rows. The
    wanted shifts along x are on its diagonals.
    """
    batch, channels, rows, columns = a.shape[0], a.static(1), a.static(2), a.static(3)
    wide = b.static(3)
    first = graph.node("Transpose", [a], (batch, rows, columns, channels), perm=(0, 2, 3, 1))
    diagonals = np.arange(columns) * (wide + 1) + np.array(shifts)[:, None]
    picks = graph.constant(diagonals.astype(np.int64), f"{layer.name}/diagonals")
    flat = graph.constant(np.array([0, rows, columns * wide], np.int64), f"{layer.name}/flat")
    found: list[Value] = []
    for shift in shifts:
        part = _slice(layer, graph, b, [(shift, rows), (0, wide)])
        part = graph.node("Transpose", [part], (batch, rows, channels, wide), perm=(0, 2, 1, 3))
        pairs = graph.node("MatMul", [first, part], (batch, rows, columns, wide))
        pairs = graph.node("Reshape", [pairs, flat], (batch, rows, columns * wide))
        shape: Shape = (batch, rows, len(shifts), columns)
        found.append(graph.node("Gather", [pairs, picks], shape, axis=2))
    count = len(shifts) ** 2
    joined = graph.node("Concat", found, (batch, rows, count, columns), axis=2)
    return graph.node("Transpose", [joined], (batch, count, rows, columns), perm=(0, 2, 1, 3))


def _differences(
    layer: Layer, graph: GraphBuilder, a: Value, b: Value, shifts: Sequence[int]
) -> Value:
    """Σ |a − b| over the channels, [batch, displacements, rows, columns]."""
    batch, rows, columns = a.shape[0], a.static(2), a.static(3)
    one: Shape = (batch, 1, rows, columns)
    axes = graph.constant(np.array([1], np.int64), f"{layer.name}/channel_axis")
    found: list[Value] = []
    for down in shifts:
        for across in shifts:
            part = _slice(layer, graph, b, [(down, rows), (across, columns)])
            distance = graph.node("Abs", [graph.node("Sub", [a, part], a.shape)], a.shape)
            found.append(graph.node("ReduceSum", [distance, axes], one, keepdims=1))
    return graph.node("Concat", found, (batch, len(found), rows, columns), axis=1)
