"""Swish, HardSwish and Mish: x times a gate that depends on x."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("Swish")
def swish(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Products x / (1 + e^(−beta · x)).

    Caffe: src/caffe/layers/swish_layer.cpp.
    """
    (x,) = inputs
    beta = layer.parameter.swish_param.beta
    scaled = x
    if beta != 1:
        constant = graph.constant(beta, f"{layer.name}/beta")
        scaled = graph.node("Mul", [x, constant], x.shape)
    gate = graph.node("Sigmoid", [scaled], x.shape)
    return graph.node("Mul", [x, gate], x.shape, name=layer.tops[0])


@handler("HardSwish")
def hard_swish(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Products x · min(max(x + 3, 0), 6) / 6.

    Caffe, forks for MobileNet v3: src/caffe/layers/hard_swish_layer.cpp.
    """
    (x,) = inputs
    return graph.node("HardSwish", [x], x.shape, name=layer.tops[0])


@handler("Mish")
def mish(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Products x · tanh(ln(1 + eˣ)).

    Caffe, forks for YOLO v4: src/caffe/layers/mish_layer.cpp.
    """
    (x,) = inputs
    soft = graph.node("Softplus", [x], x.shape)
    gate = graph.node("Tanh", [soft], x.shape)
    return graph.node("Mul", [x, gate], x.shape, name=layer.tops[0])
