"""PSROIPooling."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler
from convert.layers.roi import columns, regions, rounded


@handler("PSROIPooling", bottoms=2)
def psroi_pooling(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The mean of each of group_size² parts of each region, each from channels of its own.

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
    in_columns, wide = _masks(layer, graph, corners, 0, width)
    in_rows, high = _masks(layer, graph, corners, 1, height)
    # One product for each column of parts: [group, outputs · group · height, batch · width] by
    # [group, batch · width, regions], where only the columns of the region's own image count.
    mixed = _reshape(graph, x, (0, outputs, group, group, height, width),
                     (x.shape[0], outputs, group, group, height, width))  # fmt: skip
    mixed = graph.node(
        "Transpose",
        [mixed],
        (group, outputs, group, height, x.shape[0], width),
        perm=(3, 1, 2, 4, 0, 5),
    )
    rows = outputs * group * height
    pixels = f"{layer.name}/pixels"
    mixed = _reshape(graph, mixed, (group, rows, -1), (group, rows, pixels))
    chosen = _reshape(graph, in_columns, (0, group, 1, width), (count, group, 1, width))
    own = _reshape(
        graph, _own_image(layer, graph, x, rois), (0, 1, -1, 1), (count, 1, x.shape[0], 1)
    )
    chosen = graph.node("Mul", [chosen, own], (count, group, x.shape[0], width))
    chosen = _reshape(graph, chosen, (0, group, -1), (count, group, pixels))
    chosen = graph.node("Transpose", [chosen], (group, pixels, count), perm=(1, 2, 0))
    sums = graph.node("MatMul", [mixed, chosen], (group, rows, count))
    shape: Shape = (group, outputs, group, height, count)
    sums = _reshape(graph, sums, (group, outputs, group, height, -1), shape)
    in_rows = graph.node("Transpose", [in_rows], (group, height, count), perm=(1, 2, 0))
    axis = graph.constant(np.array([3], np.int64), f"{layer.name}/rows")
    sums = graph.node(
        "ReduceSum",
        [graph.node("Mul", [sums, in_rows], shape), axis],
        (group, outputs, group, count),
        keepdims=0,
    )
    sums = graph.node("Transpose", [sums], (count, outputs, group, group), perm=(3, 1, 2, 0))
    high = _reshape(graph, high, (0, 1, group, 1), (count, 1, group, 1))
    wide = _reshape(graph, wide, (0, 1, 1, group), (count, 1, 1, group))
    area = graph.node("Mul", [high, wide], (count, 1, group, group))
    one = graph.constant(np.float32(1), f"{layer.name}/one")
    area = graph.node("Max", [area, one], area.shape)
    return graph.node("Div", [sums, area], sums.shape, name=layer.tops[0])


def _masks(
    layer: Layer, graph: GraphBuilder, corners: Value, side: int, length: int
) -> tuple[Value, Value]:
    """Of each part of each region, along one axis: 1 for each pixel in it, and how many these are.

    `corners` [regions, 4] are rounded; `side` is 0 for x and 1 for y. The results are
    [regions, group, length] and [regions, group, 1].
    """
    parameter = layer.parameter.psroi_pooling_param
    group, count = parameter.group_size, corners.shape[0]
    numbers: dict[str, ArrayLike] = {
        "one": np.float32(1),
        "scale": np.float32(parameter.spatial_scale),
        "smallest": np.float32(0.1),
        "group": np.float32(group),
        "zero": np.float32(0),
        "length": np.float32(length),
        "parts": np.arange(group, dtype=np.float32),
        "part_ends": np.arange(1, group + 1, dtype=np.float32),
        "pixels": np.arange(length, dtype=np.float32),
    }
    known = {
        name: graph.constant(number, f"{layer.name}/{name}") for name, number in numbers.items()
    }
    column: Shape = (count, 1)
    start = graph.node("Mul", [columns(graph, corners, side, 1), known["scale"]], column)
    end = graph.node("Add", [columns(graph, corners, side + 2, 1), known["one"]], column)
    end = graph.node("Mul", [end, known["scale"]], column)
    size = graph.node("Sub", [end, start], column)
    size = graph.node("Max", [size, known["smallest"]], column)
    size = graph.node("Div", [size, known["group"]], column)
    edges: list[Value] = []
    for parts, operator in (("parts", "Floor"), ("part_ends", "Ceil")):
        edge = graph.node("Mul", [known[parts], size], (count, group))
        edge = graph.node("Add", [edge, start], (count, group))
        edge = graph.node(operator, [edge], (count, group))
        edge = graph.node("Clip", [edge, known["zero"], known["length"]], (count, group))
        edges.append(_reshape(graph, edge, (0, group, 1), (count, group, 1)))
    first, last = edges
    inside: Shape = (count, group, length)
    begun = graph.node("GreaterOrEqual", [known["pixels"], first], inside, dtype=np.bool_)
    before = graph.node("Less", [known["pixels"], last], inside, dtype=np.bool_)
    both = graph.node("And", [begun, before], inside, dtype=np.bool_)
    mask = graph.node("Cast", [both], inside, to=1)
    return mask, graph.node("Sub", [last, first], (count, group, 1))


def _own_image(layer: Layer, graph: GraphBuilder, x: Value, rois: Value) -> Value:
    """[regions, batch]: 1 for the image that a region lies in, else 0."""
    batch = x.shape[0]
    index = graph.node("Cast", [columns(graph, rois, 0, 1)], (rois.shape[0], 1),
                       dtype=np.int64, to=7)  # fmt: skip
    length = graph.node("Shape", [x], (1,), dtype=np.int64, end=1)
    zero = graph.constant(np.int64(0), f"{layer.name}/first")
    one = graph.constant(np.int64(1), f"{layer.name}/next")
    end = graph.node("Squeeze", [length], (), dtype=np.int64)
    images = graph.node("Range", [zero, end, one], (batch,), dtype=np.int64)
    same = graph.node("Equal", [index, images], (rois.shape[0], batch), dtype=np.bool_)
    return graph.node("Cast", [same], (rois.shape[0], batch), to=1)


def _reshape(graph: GraphBuilder, x: Value, target: Sequence[int], shape: Shape) -> Value:
    constant = graph.constant(np.array(target, np.int64), f"{x.name}/shape")
    return graph.node("Reshape", [x, constant], shape)
