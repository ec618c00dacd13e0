"""Shape checks of a layer's blobs and bottoms, and reshaping, for all handlers."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.registry import LayerError

NO_WEIGHTS = "no weights for it in the caffemodel"


class BlobsMissingError(LayerError):
    """A layer has no blobs; `shapes` are the shapes that it needs."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__(NO_WEIGHTS)
        self.shapes = tuple(shapes)


_MOST_NUMBERS = 2**31 - 1
"""Of a blob: Caffe counts them with an int (`Blob::Reshape`)."""


def check_blobs(layer: Layer, expected: Sequence[tuple[int, ...]]) -> None:
    """Raise LayerError unless the layer's blobs have these shapes and finite numbers.

    Shapes match as Caffe's do (Blob::ShapeEquals): the legacy form writes four dimensions, so that
    a bias of shape (n) reads as (1, 1, 1, n).
    """
    for shape in expected:
        if math.prod(shape) > _MOST_NUMBERS:
            raise LayerError(f"the weights {text(shape)} are more than a blob of Caffe can hold")
    if expected and not layer.blobs:
        raise BlobsMissingError(expected)
    if len(layer.blobs) != len(expected):
        raise LayerError(
            f"expected {len(expected)} weight blobs of shapes {_list(expected)}, found "
            f"{len(layer.blobs)}; is this the weights file of this prototxt?"
        )
    wrong = [
        f"weight blob {position}: expected shape {text(shape)}, found {text(blob.shape)}; "
        "is this the weights file of this prototxt?"
        for position, (blob, shape) in enumerate(zip(layer.blobs, expected, strict=True))
        if not _same(blob.shape, shape)
    ]
    wrong += [
        f"weight blob {position} holds numbers that are not finite; the weights file is damaged"
        for position, blob in enumerate(layer.blobs)
        if not np.isfinite(blob).all()
    ]
    if wrong:
        raise LayerError(*wrong)


def image_size(value: Value) -> tuple[int, int]:
    """Height and width of a value that must be [batch, channels, height, width]."""
    if value.rank != 4:
        raise LayerError(
            f"expected a bottom of shape [batch, channels, height, width], found {value.name} "
            f"of shape {text(value.shape)}"
        )
    return value.static(2), value.static(3)


def canonical_axis(axis: int, rank: int, name: str = "axis") -> int:
    """A possibly negative axis as an axis counted from the start (Blob::CanonicalAxisIndex)."""
    if not -rank <= axis < rank:
        raise LayerError(f"{name} is {axis}, but the bottom has {rank} dimensions")
    return axis % rank


def reshaped(graph: GraphBuilder, x: Value, shape: Shape, name: str | None = None) -> Value:
    """Reshape x to a shape with as many elements; the batch, if any, stays open."""
    numbers = [-1 if isinstance(dim, str) else dim for dim in shape]
    target = graph.constant(np.array(numbers, np.int64), f"{name or x.name}/shape")
    return graph.node("Reshape", [x, target], shape, name=name)


def text(shape: Shape) -> str:
    """A shape as messages show it: [batch, 3, 300, 300]."""
    return "[" + ", ".join(map(str, shape)) + "]"


def _same(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    if found == expected:
        return True
    padding = max(0, 4 - len(expected))
    return len(found) == 4 and found == (1,) * padding + expected


def _list(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(text, shapes))


def reshape(
    graph: GraphBuilder,
    value: Value,
    target: tuple[int, ...],
    shape: tuple[int | str, ...],
    name: str | None = None,
) -> Value:
    """ONNX Reshape to `target`, in which 0 keeps a dimension and -1 stands for the rest."""
    constant = graph.constant(np.asarray(target, np.int64), "shape")
    return graph.node(
        "Reshape", [value, constant], shape, name=name, dtype=value.dtype, allowzero=0
    )
