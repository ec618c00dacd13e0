"""Normalize, and its first name NormalizeBBox."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, text
from convert.layers.registry import LayerError, handler


@handler("Normalize", "NormalizeBBox", weights=True)
def normalize(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Quotients scale · x / √(Σ x² + eps), summed over the channels of each pixel or the image.

    `across_spatial` sums over the image. The scale is one for each channel, or one for all with
    `channel_shared`. A bottom with fewer axes, such as the features of a face, is an image of one
    pixel or one column. Caffe, SSD branch: src/caffe/layers/normalize_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.norm_param
    if layer.parameter.HasField("normalize_bbox_param"):
        parameter = layer.parameter.normalize_bbox_param
    if not 2 <= x.rank <= 4:
        raise LayerError(
            f"expected a bottom of 2 to 4 dimensions, found {x.name} of shape {text(x.shape)}"
        )
    channels = 1 if parameter.channel_shared else x.static(1)
    found = layer.blobs[0].shape if layer.blobs else ()
    check_blobs(layer, [() if parameter.channel_shared and found == () else (channels,)])
    sum_axes = list(range(1, x.rank)) if parameter.across_spatial else [1]
    one = tuple(1 if axis in sum_axes else dim for axis, dim in enumerate(x.shape))
    axes = graph.constant(np.array(sum_axes, np.int64), f"{layer.name}/axes")
    eps = graph.constant(parameter.eps, f"{layer.name}/eps")
    scale = graph.constant(
        layer.blobs[0].reshape(channels, *[1] * (x.rank - 2)), f"{layer.name}/scale"
    )
    squares = graph.node("Mul", [x, x], x.shape)
    total = graph.node("ReduceSum", [squares, axes], one, keepdims=1)
    norm = graph.node("Sqrt", [graph.node("Add", [total, eps], one)], one)
    unit = graph.node("Div", [x, norm], x.shape)
    return graph.node("Mul", [unit, scale], x.shape, name=layer.tops[0])
