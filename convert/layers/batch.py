"""Handles the batch, which a prototxt states as a number and a graph leaves open.

Caffe reshapes memory in row-major order, so a prototxt for one image may move the batch of 1 to any
axis, or write it as the number 1. These functions find the batch again.
"""

import math
from collections.abc import Sequence

import numpy as np

from convert.graph import BATCH, GraphBuilder, Shape, Value
from convert.layers.blobs import reshaped, text
from convert.layers.registry import BatchError, LayerError

Sizes = tuple[int, ...]


def stated_shape(graph: GraphBuilder, shape: Shape) -> Sizes:
    """A shape in numbers, with open dimensions as the prototxt states them.

    Open are the batch and, for example, the number of regions of interest.
    """
    return tuple(dim if isinstance(dim, int) else graph.stated.get(dim, 1) for dim in shape)


def batch_kept(graph: GraphBuilder, x: Value, sizes: Sizes, name: str) -> Value:
    """Reshape x to a shape that is stated in numbers, and keep the batch open.

    The elements stay in Caffe's row-major order for the stated batch. For any other batch, each
    image is reshaped by itself. Raises LayerError if the shape would mix images.
    """
    open_axes = [axis for axis, dim in enumerate(x.shape) if isinstance(dim, str)]
    if not open_axes:
        return reshaped(graph, x, sizes, name)
    if len(open_axes) > 1:
        raise LayerError(
            f"can't reshape {text(x.shape)}, which has more than one dynamic dimension"
        )
    (old,) = open_axes
    dim = x.shape[old]
    before = math.prod(stated_shape(graph, x.shape[:old]))
    (batch,) = stated_shape(graph, (dim,))
    axes = [axis for axis, size in enumerate(sizes) if size == batch]
    in_place = [axis for axis in axes if math.prod(sizes[:axis]) == before]
    if in_place:
        axis = in_place[0]
    elif batch == 1 and axes:
        # One image has the same memory layout wherever its axis of 1 is.
        axis = axes[0]
        x = _moved(graph, x, old, 0)
    else:
        what = f"leaves no axis for the {dim}" if batch == 1 else f"mixes what the {dim} numbers"
        raise BatchError(
            f"the shape {text(sizes)} {what}: the bottom is {text(x.shape)}; "
            f"write 0 for the {dim} axis"
        )
    shape: Shape = (*sizes[:axis], dim, *sizes[axis + 1 :])
    if in_place or math.prod(sizes[:axis]) == 1:
        return reshaped(graph, x, shape, name)
    x = reshaped(graph, x, (dim, *sizes[:axis], *sizes[axis + 1 :]))
    return _moved(graph, x, 0, axis, name)


def aligned(graph: GraphBuilder, inputs: Sequence[Value], bottoms: Sequence[str]) -> list[Value]:
    """Bottoms of a layer; those without a batch become one row that stands for every image.

    The first size of a constant is the batch that the prototxt states. Its rows must be equal:
    otherwise LayerError says that they would fix the batch.
    """
    if not any(value.shape[:1] == (BATCH,) for value in inputs):
        return list(inputs)
    result: list[Value] = []
    for value, bottom in zip(inputs, bottoms, strict=True):
        constant = value.constant
        if (
            constant is None
            or BATCH in value.shape
            or value.shape[:1] != (graph.stated.get(BATCH),)
        ):
            result.append(value)
            continue
        if (constant != constant[:1]).any():
            raise BatchError(
                f"bottom {bottom} holds different constants for each image of the batch; "
                "use the same row for all"
            )
        single = constant.shape[0] == 1
        result.append(value if single else graph.constant(constant[:1], f"{bottom}/row"))
    return result


def batch_size(graph: GraphBuilder, x: Value) -> Value:
    """The size of the batch, which must be the first axis of x, as a tensor [1] of int64."""
    return graph.node("Shape", [x], (1,), dtype=np.int64, start=0, end=1)


def expanded(graph: GraphBuilder, row: Value, like: Value) -> Value:
    """Repeat a value whose first size is 1 for each image of `like`."""
    sizes = graph.constant(np.array(row.shape[1:], np.int64), f"{row.name}/sizes")
    target = graph.node(
        "Concat", [batch_size(graph, like), sizes], (row.rank,), dtype=np.int64, axis=0
    )
    return graph.node("Expand", [row, target], (BATCH, *row.shape[1:]))


def _moved(graph: GraphBuilder, x: Value, old: int, new: int, name: str | None = None) -> Value:
    """Move the axis `old` to the position `new`."""
    order = [axis for axis in range(x.rank) if axis != old]
    order.insert(new, old)
    if order == sorted(order):
        return x
    shape = tuple(x.shape[axis] for axis in order)
    return graph.node("Transpose", [x], shape, name=name, perm=order)


def one_row(shape: Shape) -> Shape:
    """The shape of one row that stands for each image of a batch."""
    return (1, *shape[1:]) if shape[:1] == (BATCH,) else shape
