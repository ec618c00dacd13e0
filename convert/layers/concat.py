"""Concat."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.batch import aligned, expanded
from convert.layers.blobs import canonical_axis, text
from convert.layers.registry import LayerError, handler


@handler("Concat", bottoms=(1, None))
def concat(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The bottoms one after the other along `axis` (in old files `concat_dim`).

    Caffe: src/caffe/layers/concat_layer.cpp.
    """
    parameter = layer.parameter.concat_param
    old = parameter.HasField("concat_dim")
    first = inputs[0]
    axis = canonical_axis(parameter.concat_dim if old else parameter.axis, first.rank)
    if len(inputs) == 1:
        return first
    if axis > 0:
        inputs = _batched(graph, inputs, layer.bottoms)
        first = inputs[0]
    for bottom, value in zip(layer.bottoms, inputs, strict=True):
        if value.rank != first.rank or _others(value, axis) != _others(first, axis):
            raise LayerError(
                f"bottom {bottom}: expected the shape {text(first.shape)} of {layer.bottoms[0]} "
                f"except on axis {axis}, found {text(value.shape)}"
            )
    total = sum(value.static(axis) for value in inputs)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return graph.node("Concat", inputs, shape, name=layer.tops[0], axis=axis)


def _batched(
    graph: GraphBuilder, inputs: Sequence[Value], bottoms: Sequence[str]
) -> Sequence[Value]:
    """The bottoms. If one has a batch, constants are repeated for each image."""
    like = next((value for value in inputs if value.shape[:1] == (BATCH,)), None)
    if like is None:
        return inputs
    return [
        expanded(graph, value, like)
        if value.constant is not None and value.shape[:1] == (1,)
        else value
        for value in aligned(graph, inputs, bottoms)
    ]


def _others(value: Value, axis: int) -> tuple[int | str, ...]:
    return value.shape[:axis] + value.shape[axis + 1 :]
