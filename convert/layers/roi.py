"""The parts that region pooling layers share: the shape of rois, and C's rounding."""

import numpy as np

from convert.graph import GraphBuilder, Value
from convert.layers.blobs import text
from convert.layers.registry import LayerError


def regions(graph: GraphBuilder, rois: Value) -> Value:
    """The rois as [regions, 5]: the image's index, x1, y1, x2, y2 in pixels of the input.

    Caffe's blobs may have further axes of one element.
    """
    if rois.rank < 2 or rois.shape[1] != 5 or any(dim != 1 for dim in rois.shape[2:]):
        raise LayerError(
            f"expected rois of shape [regions, 5] (image, x1, y1, x2, y2), found {text(rois.shape)}"
        )
    if rois.rank == 2:
        return rois
    shape = graph.constant(np.array([0, 5], np.int64), f"{rois.name}/shape")
    return graph.node("Reshape", [rois, shape], (rois.shape[0], 5))


def rounded(graph: GraphBuilder, x: Value) -> Value:
    """C's round, which rounds halves away from zero; ONNX rounds them to even."""
    magnitude = graph.node("Abs", [x], x.shape)
    floor = graph.node("Floor", [magnitude], x.shape)
    rest = graph.node("Sub", [magnitude, floor], x.shape)
    half = graph.constant(np.float32(0.5), f"{x.name}/half")
    up = graph.node("GreaterOrEqual", [rest, half], x.shape, dtype=np.bool_)
    step = graph.node("Cast", [up], x.shape, to=1)
    whole = graph.node("Add", [floor, step], x.shape)
    return graph.node("Mul", [whole, graph.node("Sign", [x], x.shape)], x.shape)


def columns(graph: GraphBuilder, rois: Value, first: int, count: int) -> Value:
    """Some columns of [regions, 5]."""
    bounds = [
        graph.constant(np.array([number], np.int64), f"{rois.name}/{kind}")
        for kind, number in (("start", first), ("end", first + count), ("axis", 1))
    ]
    return graph.node("Slice", [rois, *bounds], (rois.shape[0], count))
