"""ArgMax."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import Dim, GraphBuilder, Shape, Value
from convert.layers.blobs import canonical_axis, reshaped
from convert.layers.registry import LayerError, handler


@handler("ArgMax")
def arg_max(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The indices of the `top_k` largest elements, largest first; of equal ones the last first.

    With `axis`: along it, or the elements themselves with `out_max_val`. Without: over the whole
    image, as [batch, 1, top_k], or [batch, 2, top_k] indices and elements with `out_max_val`.
    Caffe: src/caffe/layers/argmax_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.argmax_param
    top_k = parameter.top_k
    top = layer.tops[0]
    if parameter.HasField("axis"):
        axis = canonical_axis(parameter.axis, x.rank)
        _check_count(top_k, x.static(axis))
        shape = (*x.shape[:axis], top_k, *x.shape[axis + 1 :])
        elements, indices = _largest(layer, graph, x, axis, shape)
        chosen = elements if parameter.out_max_val else indices
        return graph.node("Identity", [chosen], shape, name=top)
    count = math.prod(x.static(axis) for axis in range(1, x.rank))
    _check_count(top_k, count)
    batch: Dim = x.shape[0]
    flat = reshaped(graph, x, (batch, 1, count))
    elements, indices = _largest(layer, graph, flat, 2, (batch, 1, top_k))
    rows = 2 if parameter.out_max_val else 1
    result = (
        graph.node("Concat", [indices, elements], (batch, 2, top_k), axis=1)
        if parameter.out_max_val
        else indices
    )
    return reshaped(graph, result, (batch, rows, top_k, *(1,) * (x.rank - 3)), top)


def _check_count(top_k: int, count: int) -> None:
    if not 1 <= top_k <= count:
        raise LayerError(f"top_k is {top_k}; expected 1 to {count}")


def _largest(
    layer: Layer, graph: GraphBuilder, x: Value, axis: int, shape: Shape
) -> tuple[Value, Value]:
    """The largest elements and their indices as float32.

    Of equal elements, ONNX's TopK puts the first one first and Caffe the last. So TopK reads them
    in reverse order.
    """
    last = x.static(axis) - 1
    numbers = [
        graph.constant(np.array([number], np.int64), f"{layer.name}/{kind}")
        for kind, number in (("starts", last), ("ends", -last - 2), ("axes", axis), ("steps", -1))
    ]
    reversed_x = graph.node("Slice", [x, *numbers], x.shape)
    top_k = graph.constant(np.array([shape[axis]], np.int64), f"{layer.name}/top_k")
    elements, positions = graph.node_with_outputs(
        "TopK", [reversed_x, top_k], [shape, shape], dtypes=[np.float32, np.int64], axis=axis
    )
    end = graph.constant(np.array(last, np.int64), f"{layer.name}/last")
    indices = graph.node("Sub", [end, positions], shape, dtype=np.int64)
    return elements, graph.node("Cast", [indices], shape, to=1)
