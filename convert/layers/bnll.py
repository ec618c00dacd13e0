"""BNLL."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("BNLL")
def bnll(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The binomial normal log likelihood ln(1 + eˣ).

    For x > 0, Caffe and Softplus compute x + ln(1 + e⁻ˣ), which can't overflow. Caffe:
    src/caffe/layers/bnll_layer.cpp.
    """
    (x,) = inputs
    return graph.node("Softplus", [x], x.shape, name=layer.tops[0])
