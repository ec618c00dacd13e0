"""Functions of each element without weights: ELU, Sigmoid, TanH, AbsVal."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("ELU")
def elu(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Exponential linear unit: x where x > 0, else alpha · (eˣ − 1).

    Caffe: src/caffe/layers/elu_layer.cpp.
    """
    (x,) = inputs
    alpha = layer.parameter.elu_param.alpha
    return graph.node("Elu", [x], x.shape, name=layer.tops[0], alpha=alpha)


@handler("Sigmoid")
def sigmoid(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """1 / (1 + e⁻ˣ).

    Caffe: src/caffe/layers/sigmoid_layer.cpp.
    """
    (x,) = inputs
    return graph.node("Sigmoid", [x], x.shape, name=layer.tops[0])


@handler("TanH")
def tanh(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The hyperbolic tangent of x.

    Caffe: src/caffe/layers/tanh_layer.cpp.
    """
    (x,) = inputs
    return graph.node("Tanh", [x], x.shape, name=layer.tops[0])


@handler("AbsVal")
def abs_val(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The absolute value of x.

    Caffe: src/caffe/layers/absval_layer.cpp.
    """
    (x,) = inputs
    return graph.node("Abs", [x], x.shape, name=layer.tops[0])
