"""Softmax."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import canonical_axis
from convert.layers.registry import BatchError, handler


@handler("Softmax")
def softmax(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """e^(x − max) / Σ e^(x − max) along one axis.

    Caffe: src/caffe/layers/softmax_layer.cpp.
    """
    (x,) = inputs
    axis = canonical_axis(layer.parameter.softmax_param.axis, x.rank)
    if isinstance(x.shape[axis], str):
        raise BatchError("the softmax would mix images; use an axis after the batch")
    return graph.node("Softmax", [x], x.shape, name=layer.tops[0], axis=axis)
