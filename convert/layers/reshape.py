"""Reshape and Flatten."""

import math
from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import BATCH, Dim, GraphBuilder, Shape, Value
from convert.layers.blobs import canonical_axis, reshaped, text
from convert.layers.registry import LayerError, handler

COPIED = 0
INFERRED = -1


@handler("Reshape")
def reshape(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The same elements in another shape: 0 copies an axis, −1 is what is left over.

    Only `num_axes` axes from `axis` on are replaced (−1: all that follow).
    Caffe: src/caffe/layers/reshape_layer.cpp.
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
    replaced = _replaced(x.shape[start:end], x.shape[start:], list(parameter.shape.dim))
    return reshaped(graph, x, (*x.shape[:start], *replaced, *x.shape[end:]), layer.tops[0])


@handler("Flatten")
def flatten(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The axes from `axis` to `end_axis` made one.

    Caffe: src/caffe/layers/flatten_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.flatten_param
    start = canonical_axis(parameter.axis, x.rank)
    end = canonical_axis(parameter.end_axis, x.rank, "end_axis")
    if end < start:
        raise LayerError(f"end_axis {parameter.end_axis} comes before axis {parameter.axis}")
    merged = x.shape[start : end + 1]
    if BATCH in merged and _product(merged) != 1:
        raise LayerError(f"axis {parameter.axis} would merge the batch with other axes; use axis 1")
    one: Dim = BATCH if BATCH in merged else _product(merged)
    return reshaped(graph, x, (*x.shape[:start], one, *x.shape[end + 1 :]), layer.tops[0])


def _replaced(old: Shape, source: Shape, dims: list[int]) -> Shape:
    """The new axes for the old ones, as numbers and the open batch."""
    new: list[Dim] = []
    for position, dim in enumerate(dims):
        if dim < INFERRED:
            raise LayerError(f"a dim of the shape is {dim}; expected -1, 0 or a size")
        if dim == COPIED and position >= len(source):
            raise LayerError(f"dim {position} is 0, but the bottom has no axis there to copy")
        new.append(source[position] if dim == COPIED else dim)
    if dims.count(INFERRED) > 1:
        raise LayerError("the shape has more than one dim of -1")
    asked = "[" + ", ".join(map(str, dims)) + "]"
    known = _product([dim for dim in new if dim != INFERRED])
    if INFERRED in new:
        if known == 0 or _product(old) % known:
            raise LayerError(f"the bottom's {text(old)} can't be reshaped to {asked}")
        left: Dim = _product(old) // known
        if BATCH in old and BATCH not in new and left == 1:
            left = BATCH
        new[new.index(INFERRED)] = left
    if (BATCH in old) != (BATCH in new):
        raise LayerError(
            f"the shape {asked} fixes the batch size or mixes images: the bottom is {text(old)}; "
            "write 0 for the batch axis"
        )
    if _product(new) != _product(old):
        raise LayerError(f"the bottom's {text(old)} can't be reshaped to {asked}")
    return tuple(new)


def _product(shape: Sequence[Dim]) -> int:
    """The product of all dimensions but the batch."""
    return math.prod(dim for dim in shape if isinstance(dim, int))
