"""The inputs of a network and their shapes, from all the places where Caffe files state them."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2, data_layers
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import Entry
from convert.caffe.prototxt import Parsed

Shape = tuple[int, ...]
Size = tuple[int, int]

MAX_SIDE = 1 << 16
MAX_ELEMENTS = 1 << 31
"""Per item; beyond these a size is a mistake that would exhaust the memory."""
GIVE_SIZE = "give the input size, in the prototxt or by --input-size"


def unsized(parsed: Parsed[caffe_pb2.NetParameter]) -> list[Entry]:
    """The only top-level `input`, if it has no shape: an Input layer, as Caffe makes of them."""
    net = parsed.message
    if len(net.input) != 1 or net.input_shape or net.input_dim:
        return []
    layer = caffe_pb2.LayerParameter(type="Input", top=net.input)
    return [Entry(layer, parsed.lines["input"][0])]


def states_no_shape(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether an Input layer has one top, and no shape."""
    return len(layer.top) == 1 and not layer.input_param.shape


def declared(
    parsed: Parsed[caffe_pb2.NetParameter], size: Size | None
) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """What the top-level `input` fields declare, with `input_shape` or `input_dim`.

    Source: UpgradeNetInput (src/caffe/util/upgrade_proto.cpp): shapes win over dims. In an image of
    0×0 pixels, `size` (height, width) takes the place of the zeros.
    """
    net = parsed.message
    lines = parsed.lines.get("input", ())
    shapes: dict[str, Shape] = {}
    problems: list[Diagnostic] = []
    if not net.input or unsized(parsed):
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
        shapes[name] = _sized(shape, size)
        problems += _check(name, shapes[name], line, None)
    return shapes, problems


def of_input_layer(entry: Entry, size: Size | None) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The tops of an Input layer: one shape for all, or one each (input_layer.cpp).

    `size` is as in `declared`.
    """
    layer = entry.parameter
    given = [_sized(tuple(shape.dim), size) for shape in layer.input_param.shape]
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
    entry: Entry, size: Size | None, channels: int
) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The image that a data layer would feed, as an input; its labels are left out.

    It may also be an Input layer without a shape. `size` is height and width, None where they are
    unknown.
    """
    layer = entry.parameter
    if not layer.top:
        return {}, [Diagnostic("a data layer without a top", entry.line, layer=layer.name)]
    if size is None:
        text = f"the prototxt doesn't state the size of its images: {GIVE_SIZE}"
        return {}, [Diagnostic(text, entry.line, layer=layer.name)]
    batch = layer.memory_data_param.batch_size or 1
    shape = (batch, channels, *size)
    return {layer.top[0]: shape}, _check(layer.top[0], shape, entry.line, layer.name)


def of_dummy_layer(entry: Entry, size: Size | None) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """The tops of a DummyData layer as inputs; `size` is as in `declared`."""
    layer = entry.parameter
    shapes = [_sized(shape, size) for shape in data_layers.dummy_shapes(layer)]
    if not shapes:
        text = f"its shapes don't fit its {len(layer.top)} tops: give one, or one each"
        return {}, [Diagnostic(text, entry.line, layer=layer.name)]
    problems: list[Diagnostic] = []
    for name, shape in zip(layer.top, shapes, strict=True):
        problems += _check(name, shape, entry.line, layer.name)
    return dict(zip(layer.top, shapes, strict=True)), problems


def is_image(shape: Shape) -> bool:
    """Whether an input of this shape is an image. Regions may have four dimensions too, of 1×1."""
    return len(shape) == 4 and max(shape[2:]) > 1


def resized(shapes: dict[str, Shape], size: Size | None) -> dict[str, Shape]:
    """The shapes with the image's (height, width) replaced.

    The image is the first input that looks like one. Others of its size are images too; an input of
    another size, such as `im_info` or a mask, keeps it.
    """
    images = [shape for shape in shapes.values() if is_image(shape)]
    images = images or [shape for shape in shapes.values() if len(shape) == 4]
    if size is None or not images:
        return shapes
    old = images[0][2:]
    return {n: (*s[:2], *size) if len(s) == 4 and s[2:] == old else s for n, s in shapes.items()}


def check_size(size: Size | None) -> list[Diagnostic]:
    """The problems of a size that the user gave."""
    if size is None or all(1 <= side <= MAX_SIDE for side in size):
        return []
    return [Diagnostic(f"input size {size[0]}×{size[1]}: each side must be 1 to {MAX_SIDE} pixels")]


def _sized(shape: Shape, size: Size | None) -> Shape:
    """The shape, with the size instead of two zeros."""
    return (*shape[:2], *size) if size is not None and shape[2:] == (0, 0) else shape


def _check(name: str, shape: Sequence[int], line: int, layer: str | None) -> list[Diagnostic]:
    elements = 1
    for side in shape[1:]:
        elements *= side
    text = "×".join(map(str, shape)) or "nothing"
    if len(shape) == 4 and shape[2:] == (0, 0) and min(shape[:2]) >= 1:
        what = f"input {name} has the shape {text}: {GIVE_SIZE}"
    elif not shape or min(shape) < 1:
        what = f"input {name} has the shape {text}: every dimension must be at least 1"
    elif max(shape) > MAX_SIDE or elements > MAX_ELEMENTS:
        what = f"input {name} has the shape {text}: that is too large to run"
    else:
        return []
    return [Diagnostic(what, line, layer=layer)]
