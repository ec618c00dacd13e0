"""Transpose."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("Transpose")
def transpose(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The axes in the order that `dim` names them (in other forks `order` or `axis`).

    Caffe, forks for text recognition: src/caffe/layers/transpose_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.transpose_param
    orders = [list(field) for field in (parameter.dim, parameter.order, parameter.axis) if field]
    if len(orders) != 1 or sorted(orders[0]) != list(range(x.rank)):
        raise LayerError(f"transpose_param must name each axis from 0 to {x.rank - 1} once, as dim")
    (order,) = orders
    shape = tuple(x.shape[axis] for axis in order)
    return graph.node("Transpose", [x], shape, name=layer.tops[0], perm=order)
