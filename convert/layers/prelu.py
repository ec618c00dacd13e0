"""PReLU."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs
from convert.layers.registry import LayerError, handler


@handler("PReLU", weights=True)
def prelu(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """max(x, 0) + slope · min(x, 0), with a slope for each channel or one for all.

    Caffe: src/caffe/layers/prelu_layer.cpp.
    """
    (x,) = inputs
    if x.rank < 2:
        raise LayerError("expected a bottom with channels on axis 1, found one axis")
    shared = layer.parameter.prelu_param.channel_shared
    shape = () if shared else (x.static(1),)
    if shared and layer.blobs and layer.blobs[0].shape == (1,):
        shape = (1,)
    check_blobs(layer, [shape])
    slope = layer.blobs[0].reshape(-1, *(1,) * (x.rank - 2))
    constant = graph.constant(slope, f"{layer.name}/slope")
    return graph.node("PRelu", [x, constant], x.shape, name=layer.tops[0])
