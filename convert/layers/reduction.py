"""Reduction."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import canonical_axis
from convert.layers.registry import BatchError, handler

OPERATORS = {
    caffe_pb2.ReductionParameter.SUM: "ReduceSum",
    caffe_pb2.ReductionParameter.ASUM: "ReduceL1",
    caffe_pb2.ReductionParameter.SUMSQ: "ReduceSumSquare",
    caffe_pb2.ReductionParameter.MEAN: "ReduceMean",
}


@handler("Reduction")
def reduction(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The sum of x, |x| or x², or the mean, times coeff, over all axes from `axis` on.

    Caffe: src/caffe/layers/reduction_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.reduction_param
    axis = canonical_axis(parameter.axis, x.rank)
    if any(isinstance(dim, str) for dim in x.shape[axis:]):
        raise BatchError(f"axis is {parameter.axis}, which mixes images; use axis 1 or higher")
    axes = list(range(axis, x.rank))
    shape = x.shape[:axis]
    operator = OPERATORS[parameter.operation]
    scaled = parameter.coeff != 1
    name = None if scaled else layer.tops[0]
    if operator == "ReduceSum":  # the first of them whose axes became an input
        constant = graph.constant(np.array(axes, np.int64), f"{layer.name}/axes")
        reduced = graph.node(operator, [x, constant], shape, name=name, keepdims=0)
    else:
        reduced = graph.node(operator, [x], shape, name=name, keepdims=0, axes=axes)
    if not scaled:
        return reduced
    coefficient = graph.constant(parameter.coeff, f"{layer.name}/coeff")
    return graph.node("Mul", [reduced, coefficient], shape, name=layer.tops[0])
