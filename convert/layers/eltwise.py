"""Eltwise."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Shape, Value
from convert.layers.batch import aligned, one_row
from convert.layers.blobs import text
from convert.layers.registry import LayerError, handler


@handler("Eltwise", bottoms=(1, None))
def eltwise(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The sum Σ coeff · x, the product, or the maximum of bottoms of one shape.

    As in OpenCV and some forks, a bottom [batch, channels, 1, 1] stands for a whole image. FlowNet
    2 scales its images by a sum of one bottom. Caffe: src/caffe/layers/eltwise_layer.cpp.
    """
    parameter = layer.parameter.eltwise_param
    inputs = aligned(graph, inputs, layer.bottoms)
    shape = _whole_shape(inputs)
    for bottom, value in zip(layer.bottoms, inputs, strict=True):
        if value.shape not in (shape, one_row(shape), _pixel(shape), one_row(_pixel(shape))):
            raise LayerError(
                f"bottom {bottom}: expected shape {text(shape)} like the others, "
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
        return _chain(layer, graph, "Mul", inputs, shape)
    terms = [
        x
        if coefficient == 1
        else graph.node("Mul", [x, graph.constant(coefficient, f"{layer.name}/coeff")], x.shape)
        for x, coefficient in zip(inputs, coefficients, strict=True)
    ]
    return _chain(layer, graph, "Add", terms, shape)


def _whole_shape(inputs: Sequence[Value]) -> Shape:
    """The shape of the result: the first that is not a single pixel, with the batch if any."""
    shape = next((each.shape for each in inputs if each.shape != _pixel(each.shape)), None)
    shape = shape or inputs[0].shape
    batched = any(value.shape[:1] == (BATCH,) for value in inputs)
    return (BATCH, *shape[1:]) if batched else shape


def _pixel(shape: Shape) -> Shape:
    """The shape of one pixel of an image."""
    return (*shape[:2], 1, 1) if len(shape) == 4 else shape


def _joined(one: Shape, other: Shape) -> Shape:
    return tuple(b if a == 1 else a for a, b in zip(one, other, strict=True))


def _chain(
    layer: Layer, graph: GraphBuilder, operator: str, terms: Sequence[Value], shape: Shape
) -> Value:
    """Apply a binary operator from left to right, as Caffe does."""
    result = terms[0]
    if len(terms) == 1:
        return graph.node("Identity", [result], shape, name=layer.tops[0])
    for position, term in enumerate(terms[1:], start=2):
        name = layer.tops[0] if position == len(terms) else None
        between = shape if position == len(terms) else _joined(result.shape, term.shape)
        result = graph.node(operator, [result, term], between, name=name)
    return result
