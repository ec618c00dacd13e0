"""ReLU and ReLU6."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("ReLU")
def relu(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """max(x, 0) + negative_slope · min(x, 0).

    The forks' `relu6: true` makes it a ReLU6 layer.
    Caffe: src/caffe/layers/relu_layer.cpp.
    """
    (x,) = inputs
    slope = layer.parameter.relu_param.negative_slope
    if layer.parameter.relu_param.relu6:
        if slope:
            raise LayerError("relu6 and negative_slope are both given; keep one of them")
        return _clipped_at_6(layer, graph, x)
    if slope == 0:
        return graph.node("Relu", [x], x.shape, name=layer.tops[0])
    return graph.node("LeakyRelu", [x], x.shape, name=layer.tops[0], alpha=slope)


@handler("ReLU6")
def relu6(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """min(max(x, 0), 6).

    MobileNet forks of Caffe: src/caffe/layers/relu6_layer.cpp.
    """
    return _clipped_at_6(layer, graph, inputs[0])


def _clipped_at_6(layer: Layer, graph: GraphBuilder, x: Value) -> Value:
    low = graph.constant(0.0, f"{layer.name}/low")
    high = graph.constant(6.0, f"{layer.name}/high")
    return graph.node("Clip", [x, low, high], x.shape, name=layer.tops[0])
