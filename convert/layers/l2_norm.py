"""L2Norm."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.blobs import canonical_axis, text
from convert.layers.registry import BatchError, LayerError, handler


@handler("L2Norm")
def l2_norm(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Quotients x / √(Σ x²) of each vector; a vector of zeros stays zero.

    The sum is over the channels, or over `axis`, or with `across_spatial` over the image. `eps`, if
    given, is added under the root. Forks: src/caffe/layers/l2norm_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.l2_norm_param
    if layer.parameter.HasField("l2norm_param"):
        parameter = layer.parameter.l2norm_param
    stated = parameter.HasField("axis") or parameter.HasField("across_spatial")
    axis = canonical_axis(parameter.axis, x.rank)
    places = math.prod(dim for dim in x.shape[2:] if isinstance(dim, int))
    if not stated and places > 1:
        raise LayerError(
            f"the bottom is {text(x.shape)}, for which some forks of Caffe sum over the channels "
            "of each pixel and others over the whole image; state axis: 1 or across_spatial: true"
        )
    if x.shape[axis] == BATCH:
        raise BatchError(f"axis is {parameter.axis}, which mixes images; use axis 1 or higher")
    sum_axes = list(range(1, x.rank)) if parameter.across_spatial else [axis]
    one = tuple(1 if index in sum_axes else dim for index, dim in enumerate(x.shape))
    axes = graph.constant(np.array(sum_axes, np.int64), f"{layer.name}/axes")
    squares = graph.node("Mul", [x, x], x.shape)
    total = graph.node("ReduceSum", [squares, axes], one, keepdims=1)
    if parameter.HasField("eps"):
        eps = graph.constant(parameter.eps, f"{layer.name}/eps")
        total = graph.node("Add", [total, eps], one)
    else:
        zero = graph.constant(np.float32(0), f"{layer.name}/zero")
        empty = graph.node("Equal", [total, zero], one, dtype=np.bool_)
        unit = graph.constant(np.float32(1), f"{layer.name}/one")
        total = graph.node("Where", [empty, unit, total], one)
    norm = graph.node("Sqrt", [total], one)
    return graph.node("Div", [x, norm], x.shape, name=layer.tops[0])
