"""Scale and Bias."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Shape, Value
from convert.layers.affine import affine
from convert.layers.batch import aligned, one_row
from convert.layers.blobs import canonical_axis, check_blobs, text
from convert.layers.registry import BatchError, LayerError, handler
from geometry.arrays import F32


@handler("Scale", bottoms=(1, 2), weights="one bottom")
def scale(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Products x · scale (+ bias); scale spans `num_axes` axes from `axis` on and is broadcast.

    The scale is the first blob or the second bottom; the bias is the last blob.
    Caffe: src/caffe/layers/scale_layer.cpp.
    """
    x = inputs[0]
    parameter = layer.parameter.scale_param
    top = layer.tops[0]
    if len(inputs) == 1:
        axis, shape = _weights_shape(x, parameter.axis, parameter.num_axes)
        check_blobs(layer, [shape] * (2 if parameter.bias_term else 1))
        factor, shift = _split(layer, shape, has_scale=True)
        return affine(graph, x, top, layer.name, axis, scale=factor, shift=shift)
    if parameter.axis in (0, -x.rank):
        inputs = aligned(graph, inputs, layer.bottoms)
    axis = _other_axis(x, inputs[1], parameter.axis)
    if not parameter.bias_term:
        return _combine(graph, "Mul", x, inputs[1], axis, top)
    other = inputs[1].shape
    if BATCH in other:
        raise BatchError("the bias would span the batch; use an axis after the batch")
    shape = tuple(inputs[1].static(each) for each in range(inputs[1].rank))
    check_blobs(layer, [shape])
    product = _combine(graph, "Mul", x, inputs[1], axis, None)
    return affine(
        graph, product, top, layer.name, axis, shift=_split(layer, shape, has_scale=False)[1]
    )


@handler("Bias", bottoms=(1, 2), weights="one bottom")
def bias(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Sums x + bias; bias spans `num_axes` axes from `axis` on and is broadcast.

    The bias is the first blob or the second bottom. Caffe: src/caffe/layers/bias_layer.cpp.
    """
    x = inputs[0]
    parameter = layer.parameter.bias_param
    if len(inputs) == 2:
        if parameter.axis in (0, -x.rank):
            inputs = aligned(graph, inputs, layer.bottoms)
        axis = _other_axis(x, inputs[1], parameter.axis)
        return _combine(graph, "Add", x, inputs[1], axis, layer.tops[0])
    axis, shape = _weights_shape(x, parameter.axis, parameter.num_axes)
    check_blobs(layer, [shape])
    shift = _split(layer, shape, has_scale=False)[1]
    return affine(graph, x, layer.tops[0], layer.name, axis, shift=shift)


def _weights_shape(x: Value, axis: int, num_axes: int) -> tuple[int, tuple[int, ...]]:
    """The first axis that the weights span, and their shape."""
    if num_axes == 0:
        return x.rank, ()
    start = canonical_axis(axis, x.rank)
    end = x.rank if num_axes == -1 else start + num_axes
    if num_axes < -1 or end > x.rank:
        raise LayerError(
            f"axis {axis} and num_axes {num_axes} reach past the {x.rank} dimensions of the bottom"
        )
    dims = x.shape[start:end]
    if BATCH in dims:
        raise BatchError("the weights would span the batch; use an axis after the batch")
    return start, tuple(x.static(each) for each in range(start, end))


def _split(
    layer: Layer, shape: tuple[int, ...], *, has_scale: bool
) -> tuple[F32 | None, F32 | None]:
    """The layer's blobs as scale and shift, in their own shapes (legacy blobs have four axes)."""
    arrays = [blob.reshape(shape) for blob in layer.blobs]
    factor = arrays[0] if has_scale else None
    shifts = arrays[1:] if has_scale else arrays
    return factor, shifts[0] if shifts else None


def _other_axis(x: Value, other: Value, axis: int) -> int:
    """The first axis of x that the second bottom spans."""
    start = 0 if other.rank == 0 else canonical_axis(axis, x.rank)
    expected = x.shape[start : start + other.rank]
    if other.shape not in (expected, one_row(expected)):
        raise LayerError(
            f"expected a second bottom of shape {text(expected)} (the first bottom from axis "
            f"{start} on), found {text(other.shape)}"
        )
    return start


def _combine(
    graph: GraphBuilder, operator: str, x: Value, other: Value, axis: int, name: str | None
) -> Value:
    """Combine x with a value that spans its axes from `axis` on."""
    trailing = range(other.rank, x.rank - axis)
    if trailing:
        axes = graph.constant(np.array(trailing, np.int64), f"{other.name}/axes")
        shape: Shape = other.shape + (1,) * len(trailing)
        other = graph.node("Unsqueeze", [other, axes], shape)
    return graph.node(operator, [x, other], x.shape, name=name)
