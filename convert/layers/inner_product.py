"""InnerProduct."""

import math
from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.blobs import canonical_axis, check_blobs, reshaped
from convert.layers.registry import BatchError, LayerError, handler


@handler("InnerProduct", weights=True)
def inner_product(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Weight · x + bias, where all axes of x from `axis` on are flattened to one.

    Weights are [outputs, inputs], or [inputs, outputs] with `transpose`.
    Caffe: src/caffe/layers/inner_product_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.inner_product_param
    axis = canonical_axis(parameter.axis, x.rank)
    if BATCH in x.shape[axis:]:
        raise BatchError(f"axis is {parameter.axis}, which mixes images; use the axis after it")
    outputs = parameter.num_output
    if outputs < 1:
        raise LayerError("num_output is missing; state how many outputs the layer makes")
    count = math.prod(x.static(each) for each in range(axis, x.rank))
    shape = (count, outputs) if parameter.transpose else (outputs, count)
    check_blobs(layer, [shape] + [(outputs,)] * parameter.bias_term)
    weight = layer.blobs[0].reshape(shape)
    biases = [graph.constant(blob.reshape(-1), f"{layer.name}/bias") for blob in layer.blobs[1:]]
    top = layer.tops[0]
    if x.rank != axis + 1:
        x = reshaped(graph, x, (*x.shape[:axis], count))
    if axis == 1:
        constant = graph.constant(weight, f"{layer.name}/weight")
        return graph.node(
            "Gemm",
            [x, constant, *biases],
            (x.shape[0], outputs),
            name=top,
            transB=0 if parameter.transpose else 1,
        )
    matrix = weight if parameter.transpose else weight.T
    constant = graph.constant(matrix, f"{layer.name}/weight")
    result = (*x.shape[:axis], outputs)
    product = graph.node("MatMul", [x, constant], result, name=None if biases else top)
    return graph.node("Add", [product, *biases], result, name=top) if biases else product
