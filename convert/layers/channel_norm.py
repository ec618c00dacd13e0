"""ChannelNorm."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import handler


@handler("ChannelNorm")
def channel_norm(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The length √(Σ x²) of each pixel's vector of channels, as one channel.

    Caffe, FlowNet 2: src/caffe/layers/channel_norm_layer.cu.
    """
    (x,) = inputs
    size = image_size(x)
    return graph.node(
        "ReduceL2", [x], (x.shape[0], 1, *size), name=layer.tops[0], axes=[1], keepdims=1
    )
