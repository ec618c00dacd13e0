"""Reshape and Flatten."""

import math
from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.batch import Sizes, batch_kept, stated_shape
from convert.layers.blobs import canonical_axis, text
from convert.layers.registry import LayerError, handler

COPIED = 0
INFERRED = -1


@handler("Reshape")
def reshape(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The same elements in another shape: 0 copies an axis, −1 is inferred from the rest.

    Only `num_axes` axes from `axis` on are replaced (−1: all that follow). Sizes refer to the batch
    that the prototxt states. In a network whose input has batch 1, a leading 1 stands for the
    batch, which stays open. Caffe: src/caffe/layers/reshape_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.reshape_param
    start = parameter.axis if parameter.axis >= 0 else x.rank + parameter.axis + 1
    end = x.rank if parameter.num_axes == -1 else start + parameter.num_axes
    if not 0 <= start <= end <= x.rank or parameter.num_axes < -1:
        raise LayerError(
            f"axis {parameter.axis} and num_axes {parameter.num_axes} reach past the {x.rank} "
            "dimensions of the bottom"
        )
    stated = stated_shape(graph, x.shape)
    replaced = _replaced(stated[start:end], stated[start:], list(parameter.shape.dim))
    return batch_kept(graph, x, (*stated[:start], *replaced, *stated[end:]), layer.tops[0])


@handler("Flatten")
def flatten(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The axes from `axis` to `end_axis` joined into one.

    Caffe: src/caffe/layers/flatten_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.flatten_param
    start = canonical_axis(parameter.axis, x.rank)
    end = canonical_axis(parameter.end_axis, x.rank, "end_axis")
    if end < start:
        raise LayerError(f"end_axis {parameter.end_axis} comes before axis {parameter.axis}")
    stated = stated_shape(graph, x.shape)
    merged = math.prod(stated[start : end + 1])
    return batch_kept(graph, x, (*stated[:start], merged, *stated[end + 1 :]), layer.tops[0])


def _replaced(old: Sizes, source: Sizes, dims: list[int]) -> Sizes:
    """The new sizes for the old ones."""
    new: list[int] = []
    for position, dim in enumerate(dims):
        if dim < INFERRED:
            raise LayerError(f"a dim of the shape is {dim}; expected -1, 0 or a size")
        if dim == COPIED and position >= len(source):
            raise LayerError(f"dim {position} is 0, but the bottom has no axis there to copy")
        new.append(source[position] if dim == COPIED else dim)
    if dims.count(INFERRED) > 1:
        raise LayerError("the shape has more than one dim of -1")
    known = math.prod(dim for dim in new if dim != INFERRED)
    whole = math.prod(old)
    if known == 0 or whole % known or (INFERRED not in new and whole != known):
        raise LayerError(f"{text(old)} can't be reshaped to {text(tuple(dims))}")
    return tuple(whole // known if dim == INFERRED else dim for dim in new)
