"""Layers that combine elements: Eltwise, Reduction, ArgMax."""

import functools
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Eltwise")
def eltwise(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Σ coeff · x, the product, or the maximum; only the sum reads `coeff` (eltwise_layer.cpp)."""
    parameter = layer.parameter.eltwise_param
    kinds = caffe_pb2.EltwiseParameter
    if parameter.operation == kinds.SUM:
        coefficients = list(parameter.coeff) or [1.0] * len(bottoms)
        bottoms = [scale * x for scale, x in zip(coefficients, bottoms, strict=True)]
    combined = {kinds.SUM: np.add, kinds.PROD: np.multiply, kinds.MAX: np.maximum}
    return np.asarray(functools.reduce(combined[parameter.operation], bottoms))


@formula("Reduction")
def reduction(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Coeff · the sum of x, |x| or x², or the mean, of the axes from `axis` on.

    Source: reduction_layer.cpp.
    """
    (x,) = bottoms
    parameter = layer.parameter.reduction_param
    flat = x.reshape(*x.shape[: parameter.axis % x.ndim], -1)
    kinds = caffe_pb2.ReductionParameter
    summands = {kinds.SUM: flat, kinds.MEAN: flat, kinds.ASUM: np.abs(flat), kinds.SUMSQ: flat**2}
    total = parameter.coeff * summands[parameter.operation].sum(axis=-1)
    return np.asarray(total / flat.shape[-1] if parameter.operation == kinds.MEAN else total)


@formula("ArgMax", jumps=True)
def arg_max(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The top_k largest elements or their indices; of equal ones, the last first.

    Caffe sorts pairs of value and index by std::greater, so the greater index wins
    (argmax_layer.cpp).
    """
    (x,) = bottoms
    parameter = layer.parameter.argmax_param
    if parameter.HasField("axis"):
        lines = np.moveaxis(x, parameter.axis, -1)
    else:
        lines = x.reshape(len(x), 1, -1)
    count = lines.shape[-1]
    order = count - 1 - np.argsort(-lines[..., ::-1], axis=-1, kind="stable")
    indices = order[..., : parameter.top_k]
    elements = np.take_along_axis(lines, indices, axis=-1)
    if parameter.HasField("axis"):
        chosen = elements if parameter.out_max_val else indices.astype(np.float64)
        return np.moveaxis(chosen, -1, parameter.axis)
    rows = [indices.astype(np.float64)] + [elements] * parameter.out_max_val
    result = np.concatenate(rows, axis=1)
    return result.reshape(*result.shape, *[1] * (x.ndim - 3))
