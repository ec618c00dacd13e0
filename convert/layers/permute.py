"""Permute."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("Permute")
def permute(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The axes in another order; axes that `order` omits follow in their old order.

    Caffe, SSD branch: src/caffe/layers/permute_layer.cpp.
    """
    (x,) = inputs
    order = list(layer.parameter.permute_param.order)
    if len(set(order)) != len(order) or any(axis >= x.rank for axis in order):
        raise LayerError(f"order {order} must name axes from 0 to {x.rank - 1}, each at most once")
    order += [axis for axis in range(x.rank) if axis not in order]
    shape = tuple(x.shape[axis] for axis in order)
    return graph.node("Transpose", [x], shape, name=layer.tops[0], perm=order)
