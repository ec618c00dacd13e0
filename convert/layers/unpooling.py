"""Unpooling."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import BATCH, GraphBuilder, Node, Value
from convert.layers.batch import batch_size
from convert.layers.blobs import image_size, reshaped, text
from convert.layers.pooling import read_pair
from convert.layers.registry import LayerError, handler


@handler("Unpooling", bottoms=(1, 2))
def unpooling(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Each pixel at the position that a Pooling layer's mask gives; all other pixels are 0.

    The result has max((in − 1) · stride + kernel − 2 · pad, unpool_size) pixels on a side.
    Caffe, DeconvNet: src/caffe/layers/unpooling_layer.cpp.
    """
    x = inputs[0]
    parameter = layer.parameter.unpooling_param
    if parameter.unpool != caffe_pb2.UnpoolingParameter.MAX or len(inputs) != 2:
        raise LayerError(
            "only unpool MAX with the mask of a Pooling layer as the second bottom can be converted"
        )
    kernel = read_pair(parameter, "kernel_size", "kernel_h", "kernel_w")
    stride = read_pair(parameter, "stride", "stride_h", "stride_w")
    pad = read_pair(parameter, "pad", "pad_h", "pad_w")
    least = read_pair(parameter, "unpool_size", "unpool_h", "unpool_w")
    height, width = (
        max((length - 1) * step + side - 2 * edge, smallest)
        for length, side, step, edge, smallest in zip(
            image_size(x), kernel, stride, pad, least, strict=True
        )
    )
    return unpooled(layer, graph, x, inputs[1], (height, width))


def unpooled(
    layer: Layer, graph: GraphBuilder, x: Value, mask: Value, size: tuple[int, int]
) -> Value:
    """Put each element of x at its position in the mask, on zeros of `size` (height, width).

    The mask must be the second top of a Pooling layer whose windows don't overlap. Otherwise a
    position may occur twice, and ScatterElements doesn't define which element wins.
    """
    pool = _pool_of(graph, mask)
    if pool is None:
        raise LayerError(
            "the second bottom must be the mask of a Pooling layer, which is its second top"
        )
    if mask.shape != x.shape:
        raise LayerError(
            f"the mask has the shape {text(mask.shape)}, expected {text(x.shape)} like "
            f"{layer.bottoms[0]}"
        )
    if any(
        kernel > stride
        for kernel, stride in zip(
            pool.attributes["kernel_shape"], pool.attributes["strides"], strict=True
        )
    ):
        raise LayerError(
            "the windows of the Pooling layer overlap, so its mask may contain one pixel twice; "
            "ONNX doesn't define the result"
        )
    height, width = size
    masked = image_size(graph.values[pool.inputs[0]])
    if height < 1 or width < 1 or height * width < masked[0] * masked[1]:
        raise LayerError(
            f"{height} by {width} pixels are too few for the mask of {masked[0]} by {masked[1]}; "
            "state upsample_h and upsample_w (or unpool_size) of that size"
        )
    if x.shape[0] != BATCH:
        raise LayerError("expected a bottom with the batch on its first axis")
    channels, count = x.static(1), x.static(2) * x.static(3)
    rows = (BATCH, channels, count)
    places = graph.node("Cast", [reshaped(graph, mask, rows)], rows, dtype=np.int64, to=7)
    planes = graph.constant(np.array([channels, height * width], np.int64), f"{layer.name}/planes")
    target = graph.node("Concat", [batch_size(graph, x), planes], (3,), dtype=np.int64, axis=0)
    flat = (BATCH, channels, height * width)
    zeros = graph.node("ConstantOfShape", [target], flat)
    filled = graph.node("ScatterElements", [zeros, places, reshaped(graph, x, rows)], flat, axis=2)
    return reshaped(graph, filled, (BATCH, channels, height, width), layer.tops[0])


def _pool_of(graph: GraphBuilder, mask: Value) -> Node | None:
    """The MaxPool node that makes a mask's indices, as convert.layers.pooling adds it."""
    makers = {output: node for node in graph.nodes for output in node.outputs}
    name = mask.name
    for operator in ("Cast", "Mod", "MaxPool"):
        node = makers.get(name)
        if node is None or node.operator != operator:
            return None
        if operator == "MaxPool":
            return node
        name = node.inputs[0]
    return None
