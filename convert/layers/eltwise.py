"""Eltwise."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import text
from convert.layers.registry import LayerError, handler


@handler("Eltwise", bottoms=(2, None))
def eltwise(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The sum Σ coeff · x, the product, or the maximum of two or more bottoms of one shape.

    Caffe: src/caffe/layers/eltwise_layer.cpp.
    """
    parameter = layer.parameter.eltwise_param
    shape = inputs[0].shape
    for bottom, value in zip(layer.bottoms, inputs, strict=True):
        if value.shape != shape:
            raise LayerError(
                f"bottom {bottom}: expected shape {text(shape)} as of {layer.bottoms[0]}, "
                f"found {text(value.shape)}"
            )
    coefficients = list(parameter.coeff) or [1.0] * len(inputs)
    if len(coefficients) != len(inputs):
        raise LayerError(f"expected {len(inputs)} coeff values, found {len(coefficients)}")
    if parameter.operation == caffe_pb2.EltwiseParameter.MAX:
        return graph.node("Max", inputs, shape, name=layer.tops[0])
    if parameter.operation == caffe_pb2.EltwiseParameter.PROD:
        if parameter.coeff:
            raise LayerError("coeff goes with operation SUM only; remove it")
        return _chain(layer, graph, "Mul", inputs)
    terms = [
        x
        if coefficient == 1
        else graph.node("Mul", [x, graph.constant(coefficient, f"{layer.name}/coeff")], shape)
        for x, coefficient in zip(inputs, coefficients, strict=True)
    ]
    return _chain(layer, graph, "Add", terms)


def _chain(layer: Layer, graph: GraphBuilder, operator: str, terms: Sequence[Value]) -> Value:
    """Apply a two-sided operator from left to right, as Caffe does."""
    result = terms[0]
    for position, term in enumerate(terms[1:], start=2):
        name = layer.tops[0] if position == len(terms) else None
        result = graph.node(operator, [result, term], result.shape, name=name)
    return result
