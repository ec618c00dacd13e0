"""Data layers, which read a database or files: the network input that each of them feeds."""

from collections.abc import Iterable, Mapping, Sequence

from convert.caffe import caffe_pb2
from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.weights import Blobs

Shape = tuple[int, ...]
Size = tuple[int, int]

_CHANNELWISE = frozenset(
    [
        "BNLL",
        "BatchNorm",
        "Bias",
        "Dropout",
        "Exp",
        "LRN",
        "Log",
        "MVN",
        "Pooling",
        "Power",
        "ReLU",
        "Scale",
        "Sigmoid",
        "Split",
        "TanH",
    ]
)
"""Layers whose top has as many channels as their first bottom."""


def is_data_layer(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether the layer only reads data: the first top is the image, the others are labels.

    Forks add types such as ImageSegData, DenseImageData and MultiLabelData, so the name decides.
    DummyData makes its tops by itself and is none.
    """
    return layer.type.endswith("Data") and layer.type != "DummyData" and not layer.bottom


def stated_channels(layer: caffe_pb2.LayerParameter) -> int | None:
    """The channels of a data layer's images where the layer itself says them, else None."""
    if layer.type == "MemoryData":
        return layer.memory_data_param.channels
    transform = layer.transform_param
    if transform.force_gray or not layer.image_data_param.is_color:
        return 1
    return 3 if transform.force_color else None


def stated_size(layer: caffe_pb2.LayerParameter) -> Size | None:
    """Height and width of a data layer's images where the layer itself says them, else None.

    A crop comes after a resize, so it wins (DataTransformer::InferBlobShape).
    """
    transform, image, window = (
        layer.transform_param,
        layer.image_data_param,
        layer.window_data_param,
    )
    for height, width in (
        (layer.memory_data_param.height, layer.memory_data_param.width),
        (transform.crop_size, transform.crop_size),
        (transform.crop_h, transform.crop_w),
        (layer.data_param.crop_size, layer.data_param.crop_size),
        (image.crop_size, image.crop_size),
        (window.crop_size, window.crop_size),
        (transform.resize_param.height, transform.resize_param.width),
        (image.new_height, image.new_width),
    ):
        if height and width:
            return height, width
    return None


def dummy_shapes(layer: caffe_pb2.LayerParameter) -> list[Shape]:
    """The shape of each top of a DummyData layer; empty where they don't fit the tops.

    Source: dummy_data_layer.cpp. One shape serves all tops.
    """
    dummy, count = layer.dummy_data_param, len(layer.top)
    if dummy.shape:
        shapes = [tuple(shape.dim) for shape in dummy.shape]
    else:
        sides = (dummy.num, dummy.channels, dummy.height, dummy.width)
        # Caffe takes one value of each kind for all tops, or one for each top.
        longest = max(len(side) for side in sides)
        if any(len(side) not in (1, longest) for side in sides):
            return []
        shapes = [
            tuple(side[index if len(side) > 1 else 0] for side in sides) for index in range(longest)
        ]
    if len(shapes) == 1:
        shapes *= count
    return shapes if len(shapes) == count else []


def is_constant(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether a DummyData layer makes the same numbers each time: all its fillers are constant."""
    return all(filler.type == "constant" for filler in layer.dummy_data_param.data_filler)


def fed_channels(
    top: str,
    size: Size | None,
    layers: Sequence[caffe_pb2.LayerParameter],
    blobs: Mapping[str, Blobs],
) -> int | None:
    """The channels that the weights of the first layer behind `top` need; None if unknown.

    `layers` are in the network's order, `blobs` are the weights by layer name. A fully connected
    layer needs the `size` (height, width) besides; without it the whole item counts as channels.
    """
    same = {top}
    for position, layer in enumerate(layers):
        if not layer.bottom or layer.bottom[0] not in same:
            # Another layer makes the blob again: it no longer has the channels of the data.
            same.difference_update(layer.top)
            continue
        weight = blobs.get(layer.name, ())
        if layer.type in DEPTHWISE and weight:
            return len(weight[0])
        if layer.type == "Convolution" and weight and weight[0].ndim > 1:
            return int(weight[0].shape[1]) * layer.convolution_param.group
        if layer.type == "InnerProduct" and weight:
            count = int(weight[0].shape[-2 if layer.inner_product_param.transpose else -1])
            area = size[0] * size[1] if size else 1
            return count // area if count % area == 0 and same == {top} else None
        if layer.type in _CHANNELWISE:
            same.update(layer.top)
        elif layer.type == "Slice":
            points = layer.slice_param.slice_point
            part = fed_channels(layer.top[-1], size, layers[position + 1 :], blobs)
            if part is None:
                return None
            return points[-1] + part if points else len(layer.top) * part
    return None


def fed_features(
    top: str, layers: Iterable[caffe_pb2.LayerParameter], blobs: Mapping[str, Blobs]
) -> int | None:
    """The numbers of each item that a fully connected layer behind `top` needs; None if unknown."""
    for layer in layers:
        if top in layer.bottom:
            weight = blobs.get(layer.name, ())
            if layer.type != "InnerProduct" or not weight:
                return None
            return int(weight[0].shape[-2 if layer.inner_product_param.transpose else -1])
    return None
