"""Split and Silence, which move no data."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import handler


@handler("Split", tops=(1, None))
def split(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """Every top is the bottom itself.

    Caffe: src/caffe/layers/split_layer.cpp.
    """
    return [inputs[0]] * len(layer.tops)


@handler("Silence", bottoms=(1, None), tops=0)
def silence(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """Nothing; it only keeps its bottoms from being outputs of the network.

    Caffe: src/caffe/layers/silence_layer.cpp.
    """
    return []
