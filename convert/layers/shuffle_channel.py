"""ShuffleChannel."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import reshaped
from convert.layers.registry import LayerError, handler


@handler("ShuffleChannel")
def shuffle_channel(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The channels of `group` groups in turn: the first of each, then the second of each.

    Channel i of group g becomes channel i · group + g.
    Caffe, ShuffleNet: src/caffe/layers/shuffle_channel_layer.cpp.
    """
    (x,) = inputs
    group = layer.parameter.shuffle_channel_param.group
    if x.rank < 2:
        raise LayerError("expected a bottom with channels on axis 1, found one axis")
    channels = x.static(1)
    if group < 1 or channels % group:
        raise LayerError(f"{channels} channels can't be divided into {group} groups of equal size")
    batch, rest = x.shape[0], x.shape[2:]
    grouped = reshaped(graph, x, (batch, group, channels // group, *rest))
    order = [0, 2, 1, *range(3, grouped.rank)]
    turned = tuple(grouped.shape[axis] for axis in order)
    dealt = graph.node("Transpose", [grouped], turned, perm=order)
    return reshaped(graph, dealt, x.shape, layer.tops[0])
