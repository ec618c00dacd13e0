"""Flip and Reverse."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.blobs import canonical_axis, image_size
from convert.layers.registry import BatchError, LayerError, handler

LAST = -(2**63)
"""The end of a backward Slice: before the first element."""


@handler("Flip")
def flip(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The image mirrored: left and right with `flip_width`, top and bottom with `flip_height`.

    Caffe, forks: src/caffe/layers/flip_layer.cpp.
    """
    (x,) = inputs
    image_size(x)
    parameter = layer.parameter.flip_param
    if parameter.axis:
        raise LayerError("flip_param has an axis; state flip_width and flip_height instead")
    chosen = ((2, parameter.flip_height), (3, parameter.flip_width))
    return backwards(graph, x, [axis for axis, flips in chosen if flips], layer.tops[0])


@handler("Reverse")
def reverse(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The bottom with the elements along `axis` in the opposite order.

    Caffe, forks for recurrent networks: src/caffe/layers/reverse_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.reverse_param
    axis = canonical_axis(parameter.axis, x.rank)
    if x.shape[axis] == BATCH:
        raise BatchError(f"axis is {parameter.axis}, the batch: images would be reordered")
    return backwards(graph, x, [axis], layer.tops[0])


def backwards(graph: GraphBuilder, x: Value, axes: Sequence[int], name: str) -> Value:
    """Put the elements along each of these axes into the opposite order."""
    if not axes:
        return x
    bounds = [
        graph.constant(np.array(numbers, np.int64), f"{name}/{kind}")
        for kind, numbers in (
            ("starts", [-1] * len(axes)),
            ("ends", [LAST] * len(axes)),
            ("axes", list(axes)),
            ("steps", [-1] * len(axes)),
        )
    ]
    return graph.node("Slice", [x, *bounds], x.shape, name=name, dtype=x.dtype)
