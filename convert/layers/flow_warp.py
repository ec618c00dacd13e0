"""FlowWarp."""

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.blobs import image_size, text
from convert.layers.registry import LayerError, handler


@handler("FlowWarp", bottoms=2)
def flow_warp(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The image's value at (x, y) + flow, bilinear in four pixels; `fill_value` outside.

    The second bottom is the flow in pixels, x first. A position is inside up to the full width and
    height; past the centre of the last pixel, that pixel's value is used. `fill_value` is zero or
    NaN. Caffe, FlowNet 2: src/caffe/layers/flow_warp_layer.cpp and .cu.
    """
    x, flow = inputs
    height, width = image_size(x)
    if flow.shape != (x.shape[0], 2, height, width):
        raise LayerError(
            f"expected a flow of shape {text((x.shape[0], 2, height, width))}, found "
            f"{text(flow.shape)}"
        )
    one: Shape = (x.shape[0], 1, height, width)
    halves = graph.constant(np.array([1, 1], np.int64), f"{layer.name}/halves")
    across, down = graph.node_with_outputs("Split", [flow, halves], [one, one], axis=1)
    columns = graph.constant(np.arange(width, dtype=np.float32), f"{layer.name}/columns")
    rows = graph.constant(np.arange(height, dtype=np.float32)[:, None], f"{layer.name}/rows")
    across = graph.node("Add", [across, columns], one)
    down = graph.node("Add", [down, rows], one)
    inside = graph.node(
        "And",
        [_within(layer, graph, across, width), _within(layer, graph, down, height)],
        one,
        dtype=np.bool_,
    )
    left, right, alpha = _neighbours(layer, graph, across, inside, width)
    top, bottom, beta = _neighbours(layer, graph, down, inside, height)
    pixels = _by_pixel(layer, graph, x)
    warped: Value | None = None
    for row, row_share in ((top, _complement(layer, graph, beta)), (bottom, beta)):
        for column, column_share in ((left, _complement(layer, graph, alpha)), (right, alpha)):
            share = graph.node("Mul", [column_share, row_share], one)
            found = _gather(layer, graph, pixels, row, column, (height, width))
            term = graph.node("Mul", [found, share], x.shape)
            warped = term if warped is None else graph.node("Add", [warped, term], x.shape)
    assert warped is not None
    nan = layer.parameter.flow_warp_param.fill_value == caffe_pb2.FlowWarpParameter.NOT_A_NUMBER
    fill = graph.constant(np.float32(math.nan if nan else 0), f"{layer.name}/fill")
    return graph.node("Where", [inside, warped, fill], x.shape, name=layer.tops[0])


def _within(layer: Layer, graph: GraphBuilder, place: Value, length: int) -> Value:
    """Whether a position is at least 0 and less than the length."""
    zero = graph.constant(np.float32(0), f"{layer.name}/zero")
    end = graph.constant(np.float32(length), f"{layer.name}/end")
    begun = graph.node("GreaterOrEqual", [place, zero], place.shape, dtype=np.bool_)
    below = graph.node("Less", [place, end], place.shape, dtype=np.bool_)
    return graph.node("And", [begun, below], place.shape, dtype=np.bool_)


def _neighbours(
    layer: Layer, graph: GraphBuilder, place: Value, inside: Value, length: int
) -> tuple[Value, Value, Value]:
    """The pixels before and after a position, as int64, and its distance from the first."""
    zero = graph.constant(np.float32(0), f"{layer.name}/zero")
    # Positions outside are never used, but their index must be valid.
    safe = graph.node("Where", [inside, place, zero], place.shape)
    floor = graph.node("Floor", [safe], place.shape)
    share = graph.node("Sub", [safe, floor], place.shape)
    first = graph.node("Cast", [floor], place.shape, dtype=np.int64, to=TensorProto.INT64)
    one = graph.constant(np.int64(1), f"{layer.name}/one")
    last = graph.constant(np.int64(length - 1), f"{layer.name}/last")
    second = graph.node("Add", [first, one], place.shape, dtype=np.int64)
    second = graph.node("Min", [second, last], place.shape, dtype=np.int64)
    return first, second, share


def _complement(layer: Layer, graph: GraphBuilder, share: Value) -> Value:
    one = graph.constant(np.float32(1), f"{layer.name}/whole")
    return graph.node("Sub", [one, share], share.shape)


def _by_pixel(layer: Layer, graph: GraphBuilder, x: Value) -> Value:
    """The image as [batch, height · width, channels]."""
    height, width = image_size(x)
    channels, count = x.static(1), height * width
    target = graph.constant(np.array([0, channels, count], np.int64), f"{layer.name}/flat")
    flat = graph.node("Reshape", [x, target], (x.shape[0], channels, count))
    return graph.node("Transpose", [flat], (x.shape[0], count, channels), perm=(0, 2, 1))


def _gather(
    layer: Layer,
    graph: GraphBuilder,
    pixels: Value,
    row: Value,
    column: Value,
    size: tuple[int, int],
) -> Value:
    """Gather the pixels at rows and columns [batch, 1, height, width] as an image."""
    batch, count, channels = pixels.shape
    width = graph.constant(np.int64(size[1]), f"{layer.name}/width")
    start = graph.node("Mul", [row, width], row.shape, dtype=np.int64)
    index = graph.node("Add", [start, column], row.shape, dtype=np.int64)
    listed = graph.constant(np.array([0, count, 1], np.int64), f"{layer.name}/list")
    index = graph.node("Reshape", [index, listed], (batch, count, 1), dtype=np.int64)
    found = graph.node("GatherND", [pixels, index], pixels.shape, batch_dims=1)
    found = graph.node("Transpose", [found], (batch, channels, count), perm=(0, 2, 1))
    target = graph.constant(np.array([0, channels, *size], np.int64), f"{layer.name}/image")
    return graph.node("Reshape", [found, target], (batch, channels, *size))
