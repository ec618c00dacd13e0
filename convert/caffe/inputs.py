"""The inputs of a network and their shapes, from all the places where Caffe files say them."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry
from convert.caffe.prototxt import Parsed

Shape = tuple[int, ...]

DATA_TYPES = frozenset(
    [
        "AnnotatedData",
        "Data",
        "DummyData",
        "HDF5Data",
        "ImageData",
        "MemoryData",
        "VideoData",
        "WindowData",
    ]
)
"""Layers that read from a database or disk: their first top is the image, the others labels."""

MAX_SIDE = 1 << 16
MAX_ELEMENTS = 1 << 31
"""Per item; beyond these a size is a mistake that would exhaust the memory."""


def declared(parsed: Parsed[caffe_pb2.NetParameter]) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """What the top-level `input` fields declare, with `input_shape` or `input_dim`.

    Source: UpgradeNetInput (src/caffe/util/upgrade_proto.cpp): shapes win over dims.
    """
    net = parsed.message
    lines = parsed.lines.get("input", ())
    shapes: dict[str, Shape] = {}
    problems: list[Diagnostic] = []
    if not net.input:
        return shapes, problems
    if net.input_shape:
        given = [tuple(shape.dim) for shape in net.input_shape]
        what = f"{len(given)} input_shape for {len(net.input)} input: give one each"
    else:
        dims = net.input_dim
        given = [tuple(dims[index : index + 4]) for index in range(0, len(dims), 4)]
        what = f"{len(dims)} input_dim for {len(net.input)} input: give four each"
    if len(given) != len(net.input) or (not net.input_shape and len(net.input_dim) % 4):
        return shapes, [Diagnostic(what, lines[0])]
    for name, shape, line in zip(net.input, given, lines, strict=True):
        if name in shapes:
            problems.append(Diagnostic(f"input {name} is declared twice", line))
        problems += _check(name, shape, line, None)
        shapes[name] = shape
    return shapes, problems


def of_input_layer(entry: Entry) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The tops of an Input layer: one shape for all, or one each (input_layer.cpp)."""
    layer = entry.parameter
    given = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(given) == 1:
        given *= len(layer.top)
    if len(given) != len(layer.top):
        text = f"{len(given)} shapes for {len(layer.top)} tops: give one, or one each"
        return {}, [Diagnostic(text, entry.line, layer=layer.name)]
    problems: list[Diagnostic] = []
    for name, shape in zip(layer.top, given, strict=True):
        problems += _check(name, shape, entry.line, layer.name)
    return dict(zip(layer.top, given, strict=True)), problems


def of_data_layer(
    entry: Entry, size: tuple[int, int] | None
) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The image that a data layer would feed, as an input; its labels are left out.

    The size is that to which the layer resizes or crops, else `size` (height, width) must say it.
    """
    layer = entry.parameter
    if not layer.top:
        return {}, [Diagnostic("a data layer without a top", entry.line, layer=layer.name)]
    shape = _data_shape(layer, size)
    if shape is None:
        text = "the size of its images is not in the prototxt: give the input size"
        return {}, [Diagnostic(text, entry.line, layer=layer.name)]
    return {layer.top[0]: shape}, _check(layer.top[0], shape, entry.line, layer.name)


def resized(shapes: dict[str, Shape], size: tuple[int, int] | None) -> dict[str, Shape]:
    """The shapes with (height, width) in place of the last two of four dimensions."""
    if size is None:
        return shapes
    return {n: (*s[:2], *size) if len(s) == 4 else s for n, s in shapes.items()}


def check_size(size: tuple[int, int] | None) -> list[Diagnostic]:
    """What stands against a size that the user gave."""
    if size is None or all(1 <= side <= MAX_SIDE for side in size):
        return []
    return [Diagnostic(f"input size {size[0]}×{size[1]}: each side must be 1 to {MAX_SIDE} pixels")]


def _data_shape(layer: caffe_pb2.LayerParameter, size: tuple[int, int] | None) -> Shape | None:
    transform = layer.transform_param
    if layer.type == "MemoryData":
        memory = layer.memory_data_param
        return (memory.batch_size, memory.channels, memory.height, memory.width)
    if layer.type == "DummyData":
        dummy = layer.dummy_data_param
        if dummy.shape:
            return tuple(dummy.shape[0].dim)
        sides = (dummy.num, dummy.channels, dummy.height, dummy.width)
        return tuple(side[0] for side in sides) if all(sides) else None
    channels = 1 if transform.force_gray else 3
    # In the order of DataTransformer::InferBlobShape: a crop comes after a resize, so it wins.
    for height, width in (
        (transform.crop_size, transform.crop_size),
        (transform.crop_h, transform.crop_w),
        (layer.data_param.crop_size, layer.data_param.crop_size),
        (layer.image_data_param.crop_size, layer.image_data_param.crop_size),
        (transform.resize_param.height, transform.resize_param.width),
        (layer.image_data_param.new_height, layer.image_data_param.new_width),
        size or (0, 0),
    ):
        if height and width:
            return (1, channels, height, width)
    return None


def _check(name: str, shape: Sequence[int], line: int, layer: str | None) -> list[Diagnostic]:
    elements = 1
    for side in shape[1:]:
        elements *= side
    text = "×".join(map(str, shape)) or "nothing"
    if not shape or min(shape) < 1:
        what = f"input {name} has the shape {text}: every dimension must be at least 1"
    elif max(shape) > MAX_SIDE or elements > MAX_ELEMENTS:
        what = f"input {name} has the shape {text}: that is too large to run"
    else:
        return []
    return [Diagnostic(what, line, layer=layer)]
