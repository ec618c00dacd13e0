"""MVN."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.registry import LayerError, handler


@handler("MVN")
def mvn(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """(x − mean) / (√variance + eps) over each channel of each image, or over the whole image.

    `across_channels` takes the whole image; without `normalize_variance` only the mean is
    subtracted. Caffe adds eps to the root, not under it. Caffe: src/caffe/layers/mvn_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.mvn_param
    if not 2 <= x.rank <= 4:
        raise LayerError(f"expected a bottom of 2 to 4 dimensions, found {x.rank}")
    axes = list(range(1 if parameter.across_channels else 2, x.rank))
    if not axes:  # a channel is a single number, which is its own mean
        zero = graph.constant(0.0, f"{layer.name}/zero")
        return graph.node("Mul", [x, zero], x.shape, name=layer.tops[0])
    one = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape))
    mean = graph.node("ReduceMean", [x], one, axes=axes, keepdims=1)
    if not parameter.normalize_variance:
        return graph.node("Sub", [x, mean], x.shape, name=layer.tops[0])
    centred = graph.node("Sub", [x, mean], x.shape)
    squares = graph.node("Mul", [centred, centred], x.shape)
    variance = graph.node("ReduceMean", [squares], one, axes=axes, keepdims=1)
    eps = graph.constant(parameter.eps, f"{layer.name}/eps")
    divisor = graph.node("Add", [graph.node("Sqrt", [variance], one), eps], one)
    return graph.node("Div", [centred, divisor], x.shape, name=layer.tops[0])
