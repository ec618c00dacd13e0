"""Axpy."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.batch import aligned
from convert.layers.blobs import reshaped, text
from convert.layers.registry import LayerError, handler


@handler("Axpy", bottoms=3)
def axpy(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The sum a · x + y, where a is one number for each channel of each image.

    The bottoms are a [batch, channels] or [batch, channels, 1, 1], x and y.
    Caffe, SENet: src/caffe/layers/axpy_layer.cpp.
    """
    a, x, y = aligned(graph, inputs, layer.bottoms)
    if x.rank < 2 or a.rank not in (2, x.rank) or a.shape != _scale_shape(x, a.rank):
        raise LayerError(
            f"expected a first bottom of shape {text(_scale_shape(x, 2))} (the batch and the "
            f"channels of {layer.bottoms[1]}), found {text(a.shape)}"
        )
    if y.shape != x.shape:
        raise LayerError(
            f"bottom {layer.bottoms[2]}: expected shape {text(x.shape)} like {layer.bottoms[1]}, "
            f"found {text(y.shape)}"
        )
    a = reshaped(graph, a, _scale_shape(x, x.rank)) if a.rank != x.rank else a
    product = graph.node("Mul", [a, x], x.shape)
    return graph.node("Add", [product, y], x.shape, name=layer.tops[0])


def _scale_shape(x: Value, rank: int) -> Shape:
    return x.shape[:2] + (1,) * (rank - 2)
