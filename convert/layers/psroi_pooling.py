"""PSROIPooling."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.blobs import image_size, reshape
from convert.layers.registry import LayerError, handler
from convert.layers.roi import columns, regions, rounded


@handler("PSROIPooling", bottoms=2)
def psroi_pooling(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The mean of each of group_size² parts of each region, each from its own channels.

    Part (i, j) of output c is the mean of channel (c · group + i) · group + j from
    ⌊i · size / group + start⌋ to ⌈(i + 1) · size / group + start⌉; 0 where it is empty. A region
    reaches from its rounded first corner to its rounded last corner + 1, both scaled.
    Caffe, R-FCN: src/caffe/layers/psroi_pooling_layer.cpp and .cu.
    """
    x, rois = inputs
    parameter = layer.parameter.psroi_pooling_param
    group, outputs = parameter.group_size, parameter.output_dim
    height, width = image_size(x)
    if min(group, outputs) < 1:
        raise LayerError("group_size and output_dim must be at least 1")
    if x.static(1) != outputs * group * group:
        raise LayerError(
            f"expected output_dim · group_size² = {outputs * group * group} channels, found "
            f"{x.static(1)}"
        )
    rois = regions(graph, rois)
    count = rois.shape[0]
    corners = rounded(graph, columns(graph, rois, 1, 4))
    in_rows, high = _rows(layer, graph, corners, height)
    in_columns, wide = _columns(layer, graph, corners, rois, x)
    # One product for each column of parts: [regions, batch · width] by [batch · width, the rest].
    parts = (outputs, group, group, height, width)
    shape: Shape = (x.shape[0], *parts)
    split = reshape(graph, x, (0, *parts), shape)
    shape = (group, x.shape[0], width, outputs, group, height)
    split = graph.node("Transpose", [split], shape, perm=(3, 0, 5, 1, 2, 4))
    rest, places = outputs * group * height, in_columns.shape[2]
    split = reshape(graph, split, (group, -1, rest), (group, places, rest))
    in_columns = graph.node("Transpose", [in_columns], (group, count, places), perm=(1, 0, 2))
    sums = graph.node("MatMul", [in_columns, split], (group, count, rest))
    sums = graph.node("Transpose", [sums], (count, group, rest), perm=(1, 0, 2))
    shape = (count, group, outputs, group, height)
    sums = reshape(graph, sums, (0, group, outputs, group, height), shape)
    in_rows = reshape(graph, in_rows, (0, 1, 1, group, height), (count, 1, 1, group, height))
    axis = graph.constant(np.array([4], np.int64), f"{layer.name}/rows")
    sums = graph.node("Mul", [sums, in_rows], shape)
    sums = graph.node("ReduceSum", [sums, axis], shape[:-1], keepdims=0)
    sums = graph.node("Transpose", [sums], (count, outputs, group, group), perm=(0, 2, 3, 1))
    high = reshape(graph, high, (0, 1, group, 1), (count, 1, group, 1))
    wide = reshape(graph, wide, (0, 1, 1, group), (count, 1, 1, group))
    area = graph.node("Mul", [high, wide], (count, 1, group, group))
    area = graph.node("Max", [area, _number(layer, graph, 1)], area.shape)
    return graph.node("Div", [sums, area], sums.shape, name=layer.tops[0])


def _rows(layer: Layer, graph: GraphBuilder, corners: Value, height: int) -> tuple[Value, Value]:
    """The rows in each part of each region, [regions, group, height], and their number."""
    first, last = _edges(layer, graph, corners, 1, height)
    pixels = graph.constant(np.arange(height, dtype=np.float32), f"{layer.name}/heights")
    inside = _between(graph, pixels, first, last, (*first.shape[:2], height))
    return inside, graph.node("Sub", [last, first], first.shape)


def _columns(
    layer: Layer, graph: GraphBuilder, corners: Value, rois: Value, x: Value
) -> tuple[Value, Value]:
    """The columns in each part, [regions, group, batch · width], and their number.

    The columns of all images are side by side, so a part starts after those of earlier images.
    """
    width = x.static(3)
    first, last = _edges(layer, graph, corners, 0, width)
    size = graph.node("Sub", [last, first], first.shape)
    image = columns(graph, rois, 0, 1)
    earlier = graph.node("Mul", [image, _number(layer, graph, width)], image.shape)
    earlier = reshape(graph, earlier, (0, 1, 1), (image.shape[0], 1, 1))
    first, last = (graph.node("Add", [edge, earlier], first.shape) for edge in (first, last))
    batch = graph.node("Shape", [x], (1,), dtype=np.int64, end=1)
    batch = graph.node("Squeeze", [batch], (), dtype=np.int64)
    wide = graph.constant(np.int64(width), f"{layer.name}/width")
    end = graph.node("Mul", [batch, wide], (), dtype=np.int64)
    bounds = [graph.constant(np.int64(number), f"{layer.name}/step") for number in (0, 1)]
    places = f"{layer.name}/columns"
    pixels = graph.node("Range", [bounds[0], end, bounds[1]], (places,), dtype=np.int64)
    pixels = graph.node("Cast", [pixels], (places,), to=TensorProto.FLOAT)
    return _between(graph, pixels, first, last, (*first.shape[:2], places)), size


def _edges(
    layer: Layer, graph: GraphBuilder, corners: Value, side: int, length: int
) -> tuple[Value, Value]:
    """The first pixel of each part along one axis and the first after it, [regions, group, 1].

    `corners` [regions, 4] are rounded; `side` is 0 for x and 1 for y.
    """
    parameter = layer.parameter.psroi_pooling_param
    group, count = parameter.group_size, corners.shape[0]
    scale = _number(layer, graph, parameter.spatial_scale)
    column: Shape = (count, 1)
    start = graph.node("Mul", [columns(graph, corners, side, 1), scale], column)
    end = columns(graph, corners, side + 2, 1)
    end = graph.node("Add", [end, _number(layer, graph, 1)], column)
    end = graph.node("Mul", [end, scale], column)
    size = graph.node("Sub", [end, start], column)
    size = graph.node("Max", [size, _number(layer, graph, 0.1)], column)
    size = graph.node("Div", [size, _number(layer, graph, group)], column)
    edges: list[Value] = []
    for shift, operator in ((0, "Floor"), (1, "Ceil")):
        parts = np.arange(shift, group + shift, dtype=np.float32)
        edge = graph.node("Mul", [graph.constant(parts, f"{layer.name}/parts"), size],
                          (count, group))  # fmt: skip
        edge = graph.node("Add", [edge, start], edge.shape)
        edge = graph.node(operator, [edge], edge.shape)
        limits = [_number(layer, graph, limit) for limit in (0, length)]
        edge = graph.node("Clip", [edge, *limits], edge.shape)
        edges.append(reshape(graph, edge, (0, group, 1), (count, group, 1)))
    return edges[0], edges[1]


def _between(graph: GraphBuilder, pixels: Value, first: Value, last: Value, shape: Shape) -> Value:
    """1 for each pixel from the first up to but not including the last, else 0."""
    begun = graph.node("GreaterOrEqual", [pixels, first], shape, dtype=np.bool_)
    before = graph.node("Less", [pixels, last], shape, dtype=np.bool_)
    both = graph.node("And", [begun, before], shape, dtype=np.bool_)
    return graph.node("Cast", [both], shape, to=TensorProto.FLOAT)


def _number(layer: Layer, graph: GraphBuilder, number: float) -> Value:
    return graph.constant(np.float32(number), f"{layer.name}/number")
