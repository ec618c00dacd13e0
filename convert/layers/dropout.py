"""Dropout."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("Dropout")
def dropout(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The bottom itself: only training drops elements and scales the others up.

    Forks have `scale_train: false`, which instead scales down by 1 − dropout_ratio in testing.
    Caffe: src/caffe/layers/dropout_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.dropout_param
    if parameter.scale_train:
        return x
    share = graph.constant(1 - parameter.dropout_ratio, f"{layer.name}/share")
    return graph.node("Mul", [x, share], x.shape, name=layer.tops[0])
