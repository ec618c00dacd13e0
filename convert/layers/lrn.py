"""LRN."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler


@handler("LRN")
def lrn(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Quotients x / (k + alpha / n · Σ x²) ^ beta over n channels, or over n × n pixels.

    WITHIN_CHANNEL divides by n² and always uses k = 1. Caffe: src/caffe/layers/lrn_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.lrn_param
    size = parameter.local_size
    if size % 2 == 0:
        raise LayerError(f"local_size is {size}; expected an odd number")
    image_size(x)
    if parameter.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        return graph.node(
            "LRN",
            [x],
            x.shape,
            name=layer.tops[0],
            size=size,
            alpha=parameter.alpha,
            beta=parameter.beta,
            bias=parameter.k,
        )
    squares = graph.node("Mul", [x, x], x.shape)
    mean = graph.node(
        "AveragePool",
        [squares],
        x.shape,
        kernel_shape=[size, size],
        pads=[(size - 1) // 2] * 4,
        count_include_pad=1,
    )
    alpha = graph.constant(parameter.alpha, f"{layer.name}/alpha")
    one = graph.constant(1.0, f"{layer.name}/one")
    exponent = graph.constant(-parameter.beta, f"{layer.name}/beta")
    base = graph.node("Add", [graph.node("Mul", [mean, alpha], x.shape), one], x.shape)
    factor = graph.node("Pow", [base, exponent], x.shape)
    return graph.node("Mul", [x, factor], x.shape, name=layer.tops[0])
