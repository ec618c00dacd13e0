"""Interp and Upsample."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler
from convert.layers.slice import cut
from convert.layers.unpooling import unpooled


@handler("Interp")
def interp(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Bilinear resizing with aligned corners, after cropping by a `pad_beg` and `pad_end` below 0.

    The size is (in − 1) / shrink_factor + 1, then in + (in − 1) · (zoom_factor − 1), or else
    `height` and `width`. Caffe, DeepLab and PSPNet: src/caffe/layers/interp_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.interp_param
    begin, end = -parameter.pad_beg, -parameter.pad_end
    if begin < 0 or end < 0:
        raise LayerError("pad_beg and pad_end must be 0, or below to crop")
    if min(image_size(x)) <= begin + end:
        raise LayerError("pad_beg and pad_end leave nothing of the input")
    top = layer.tops[0]
    if begin or end:
        ranges = {axis: (begin, size - end) for axis, size in enumerate(image_size(x), start=2)}
        x = cut(graph, x, ranges, graph.fresh(f"{layer.name}/cropped"))
    height, width = image_size(x)
    has_shrink, has_zoom = parameter.HasField("shrink_factor"), parameter.HasField("zoom_factor")
    if has_shrink or has_zoom:
        if parameter.shrink_factor < 1 or parameter.zoom_factor < 1:
            raise LayerError("shrink_factor and zoom_factor must be at least 1")
        height, width = (
            _zoomed((size - 1) // parameter.shrink_factor + 1, parameter.zoom_factor)
            for size in (height, width)
        )
    elif parameter.height > 0 and parameter.width > 0:
        height, width = parameter.height, parameter.width
    else:
        raise LayerError("state height and width, or zoom_factor, or shrink_factor")
    return resize(
        graph,
        x,
        (height, width),
        top,
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


@handler("Upsample", bottoms=(1, 2))
def upsample(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Each pixel repeated `scale` times down and across (or scale_h, scale_w, or to a given size).

    SegNet's form has a second bottom, the mask of a Pooling layer: each pixel goes back to where
    the mask says, all others are 0. `pad_out_h` and `pad_out_w` make the result a pixel smaller.
    Caffe, SegNet and forks for feature pyramids: src/caffe/layers/upsample_layer.cpp.
    """
    x = inputs[0]
    parameter = layer.parameter.upsample_param
    size = image_size(x)
    scale = (
        parameter.scale_h if parameter.HasField("scale_h") else parameter.scale,
        parameter.scale_w if parameter.HasField("scale_w") else parameter.scale,
    )
    if len(inputs) == 2:
        return unpooled(layer, graph, x, inputs[1], _unpooled_size(parameter, size, scale))
    if parameter.pad_out_h or parameter.pad_out_w:
        raise LayerError("pad_out_h and pad_out_w go with a mask as the second bottom; remove them")
    height = parameter.upsample_h or size[0] * scale[0]
    width = parameter.upsample_w or size[1] * scale[1]
    if height < 1 or width < 1 or height % size[0] or width % size[1]:
        raise LayerError(
            f"{size[0]} by {size[1]} pixels can't be repeated to {height} by {width}; "
            "use a whole scale"
        )
    return resize(
        graph,
        x,
        (height, width),
        layer.tops[0],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _unpooled_size(
    parameter: caffe_pb2.UpsampleParameter, size: tuple[int, int], scale: tuple[int, int]
) -> tuple[int, int]:
    if parameter.upsample_h and parameter.upsample_w:
        return parameter.upsample_h, parameter.upsample_w
    return (
        size[0] * scale[0] - parameter.pad_out_h,
        size[1] * scale[1] - parameter.pad_out_w,
    )


def resize(
    graph: GraphBuilder, x: Value, size: tuple[int, int], name: str, **attributes: Any
) -> Value:
    """Resize by scales, since ONNX sizes would need the batch. No rounding makes a side smaller."""
    ratios = [1.0, 1.0, *map(_ratio, image_size(x), size)]
    scales = graph.constant(np.array(ratios, np.float32), f"{name}/scales")
    return graph.node("Resize", [x, None, scales], (*x.shape[:2], *size), name=name, **attributes)


def _zoomed(size: int, factor: int) -> int:
    return size + (size - 1) * (factor - 1)


def _ratio(source: int, target: int) -> float:
    """The first float32 ratio for which ⌊source · ratio⌋ is the target in any precision."""
    ratio = np.float32(target / source)
    while source * float(ratio) < target:
        ratio = np.nextafter(ratio, np.float32(np.inf))
    return float(ratio)
