"""Reorg."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size, reshaped
from convert.layers.registry import LayerError, handler


@handler("Reorg")
def reorg(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Blocks of stride × stride pixels become channels, in the order of Darknet's reorg_cpu.

    Darknet reads the bottom's memory as [channels / stride², height, stride, width, stride], not as
    an image, and moves the two axes of the stride to the front. The weights of YOLO v2 were trained
    with that order, and OpenCV's Reorg has it, too. The result has the shape [batch, channels ·
    stride², height / stride, width / stride]. Caffe, YOLO v2: src/caffe/layers/reorg_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.reorg_param
    stride = parameter.stride
    if parameter.reverse:
        raise LayerError("reverse can't be converted: forks of Caffe implement it differently")
    height, width = image_size(x)
    channels = x.static(1)
    if stride < 1:
        raise LayerError("stride is missing; state the block size in pixels")
    if channels % stride**2 or height % stride or width % stride:
        raise LayerError(
            f"{channels} channels of {height} by {width} pixels don't fit stride {stride}: the "
            f"channels must be a multiple of {stride**2}, both sides of {stride}"
        )
    batch, groups = x.shape[0], channels // stride**2 * height
    blocks = reshaped(graph, x, (batch, groups, stride, width, stride))
    turned = graph.node(
        "Transpose", [blocks], (batch, stride, stride, groups, width), perm=[0, 2, 4, 1, 3]
    )
    shape = (batch, channels * stride**2, height // stride, width // stride)
    return reshaped(graph, turned, shape, layer.tops[0])
