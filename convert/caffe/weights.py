"""Caffemodel files: each layer's blobs as float32 arrays, and back."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from convert.caffe import blobs, caffe_pb2, legacy, wire
from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.caffe.wire import Buffer, Place, WireError
from convert.files import MAX_PROTOBUF, map_bytes, other_kind, read_bytes
from geometry.arrays import F32
from sfd.files import write_atomically

Blobs = tuple[F32, ...]

MAPPED_BYTES = 64 << 20
"""Of a file at least this large the blobs stay in the file, as read-only views of its pages."""

_PART = 1 << 20
_MOST_FINAL_ZEROS = 4096
"""A damaged file that ends with more zeros than this was not written to its end."""
_LAYER_TAGS = frozenset([100 << 3 | 2, 2 << 3 | 2])


class NoWeightsError(CaffeError):
    """A caffemodel that can be read but holds no blob."""


@dataclass(frozen=True)
class LayerWeights:
    """The blobs of one layer of the file, and why some of them can't be used."""

    name: str
    type: str
    blobs: Blobs
    problems: tuple[Diagnostic, ...] = ()
    """One for each blob that can't be used; `blobs` lacks it."""


@dataclass(frozen=True)
class Weights:
    """The content of a caffemodel: layers with blobs, in the file's order."""

    name: str
    layers: tuple[LayerWeights, ...]
    warnings: tuple[Diagnostic, ...] = field(default=())


def read(path: Path) -> dict[str, Blobs]:
    """The blobs of each layer that has some, as float32 arrays in the shapes of the file.

    Raises CaffeError with all problems, as `read_all` does, or for any blob that can't be used.
    """
    weights = read_all(path)
    problems = [problem for layer in weights.layers for problem in layer.problems]
    if problems:
        raise CaffeError(str(path), problems)
    return {layer.name: layer.blobs for layer in weights.layers}


def read_all(path: Path) -> Weights:
    """Read a caffemodel in any form: `layer` or legacy `layers`, any encoding of blobs.

    A blob that can't be used is a problem of its layer, since the network may not need it; fields
    that the schema lacks are warnings. Where a name occurs twice, the last one counts, as in
    Net::CopyTrainedLayersFrom (src/caffe/net.cpp).

    Raises NoWeightsError for a file without any blob, and CaffeError for one that is missing,
    truncated, or of another kind.
    """
    net, views = _parse(path)
    unknown: Counter[str] = Counter()
    _count_unknown(net, "the network", unknown)
    layers: dict[str, LayerWeights] = {}
    warnings: list[Diagnostic] = []
    for layer in _layers(net, views, unknown):
        if layer.name in layers:
            text = "the weights file has this layer twice; the last one is used"
            warnings.append(Diagnostic(text, layer=layer.name))
        layers[layer.name] = layer
    if not layers:
        if net.layer or net.layers:
            what = "it describes a network but holds no weights: give the trained .caffemodel"
        else:
            what = "it holds no layers: give the trained .caffemodel"
        raise NoWeightsError(str(path), [Diagnostic(what)])
    warnings += [
        Diagnostic(f"unknown field {name} of the weights file is ignored ({count} times)")
        for name, count in unknown.items()
    ]
    return Weights(_text(net.name), tuple(layers.values()), tuple(warnings))


def write(
    path: Path,
    name: str,
    layers: Mapping[str, Sequence[F32]],
    types: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a caffemodel that Caffe and OpenCV read: float32 blobs by layer name.

    `types` gives layers their Caffe type; readers don't need it. The file appears whole or not at
    all. Raises WriteError where it can't be written.
    """
    write_atomically(path, _parts(name, layers, types))


def _parts(
    name: str, layers: Mapping[str, Sequence[F32]], types: Mapping[str, str]
) -> Iterator[bytes]:
    """The serialised message in parts, of which only one is in memory at a time."""
    yield caffe_pb2.NetParameter(name=name).SerializeToString()
    for layer_name, arrays in layers.items():
        layer = caffe_pb2.LayerParameter(name=layer_name)
        layer.blobs.extend(blobs.encode(array) for array in arrays)
        if layer_name in types:
            layer.type = types[layer_name]
        content = layer.SerializeToString(deterministic=True)
        yield wire.header(wire.LAYER, len(content))
        yield content


def _parse(path: Path) -> tuple[caffe_pb2.NetParameter, Mapping[Place, F32]]:
    data = _content(path)
    kind = _other_kind(data)
    if kind:
        raise CaffeError(str(path), [Diagnostic(kind)])
    views: Mapping[Place, F32] = {}
    message: Buffer = data
    if len(data) >= MAPPED_BYTES:
        with suppress(WireError):  # the parser says what is wrong
            message, views = wire.cut(data)
    try:
        return caffe_pb2.NetParameter.FromString(bytes(message)), views
    except DecodeError as error:
        whole, cut = _count_layers(data)
        zeros = _zeros_from(data)
        if zeros < len(data) - _MOST_FINAL_ZEROS:
            what = f"only zeros from byte {zeros} on, so the download is probably incomplete"
        elif whole and cut:
            what = f"truncated: {len(data)} bytes end inside the layer after the first {whole}"
        elif whole:
            what = f"damaged after its first {whole} layers"
        else:
            what = "not a caffemodel (a serialised NetParameter), or a damaged one"
        raise CaffeError(str(path), [Diagnostic(f"{what}; get the file again")]) from error


def _content(path: Path) -> Buffer:
    try:
        large = path.stat().st_size >= MAPPED_BYTES
    except OSError:
        large = False  # read_bytes says why
    return (map_bytes if large else read_bytes)(path, MAX_PROTOBUF, "caffemodel")


def _other_kind(data: Buffer) -> str:
    """For a file of another usual kind: which kind, and what to do. Empty for a caffemodel."""
    if not data:
        return "an empty file; get it again"
    start = data[:65536]
    if start.startswith(b"\x89HDF"):
        return "an HDF5 snapshot; save it from Caffe with snapshot_format: BINARYPROTO"
    if kind := other_kind(start):
        return kind
    if b"\0" not in start[:4096] and b"layer" in start and b"{" in start:
        return "text, not weights; the prototxt comes first and the caffemodel second"
    return ""


def _count_layers(data: Buffer) -> tuple[int, bool]:
    """How many whole layers a damaged file starts with, and whether it is cut off."""
    whole, position = 0, 0
    try:
        while position < len(data):
            tag, position = _varint(data, position)
            if tag >> 3 == 0:
                return whole, False
            if tag & 7 == 2:
                length, position = _varint(data, position)
                position += length
            elif tag & 7 == 0:
                _, position = _varint(data, position)
            elif tag & 7 in (1, 5):
                position += 8 if tag & 7 == 1 else 4
            else:
                return whole, False
            if position > len(data):
                return whole, True
            whole += tag in _LAYER_TAGS
    except IndexError:
        return whole, True
    return whole, False


def _zeros_from(data: Buffer) -> int:
    """Where the zeros begin that a file ends with, as one does whose space was reserved."""
    end = len(data)
    while end:
        part = data[max(0, end - _PART) : end]
        rest = len(part.rstrip(b"\0"))
        end -= len(part) - rest
        if rest:
            break
    return end


def _varint(data: Buffer, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, position


def _layers(
    net: caffe_pb2.NetParameter, views: Mapping[Place, F32], unknown: Counter[str]
) -> Iterator[LayerWeights]:
    """The layers that have blobs, in the forms of 2013 and 2014 (`layers`) too."""
    for position, layer in enumerate(net.layer):
        _count_unknown(layer, "a layer", unknown)
        if layer.blobs:
            data = [views.get((wire.LAYER, position, i)) for i in range(len(layer.blobs))]
            yield _decode(_text(layer.name), _text(layer.type), layer.blobs, data, unknown)
    for position, old in enumerate(net.layers):
        _count_unknown(old, "a layer", unknown)
        name = old.layer.name if old.HasField("layer") else old.name
        found = old.blobs or old.layer.blobs
        if found:
            kind = legacy.upgrade_type(old)
            data = [views.get((wire.OLD_LAYER, position, i)) for i in range(len(found))]
            yield _decode(_text(name), kind, found, data, unknown)


def _decode(
    name: str,
    kind: str,
    protos: Sequence[caffe_pb2.BlobProto],
    data: Sequence[F32 | None],
    unknown: Counter[str],
) -> LayerWeights:
    arrays: list[F32] = []
    problems: list[Diagnostic] = []
    for index, (blob, values) in enumerate(zip(protos, data, strict=True)):
        _count_unknown(blob, "a blob", unknown)
        try:
            arrays.append(blobs.decode(blob, values))
        except blobs.BlobError as error:
            problems.append(Diagnostic(f"blob {index} of the weights file: {error}", layer=name))
    return LayerWeights(name, kind, tuple(arrays), tuple(problems))


def _count_unknown(message: Message, where: str, unknown: Counter[str]) -> None:
    fields = UnknownFieldSet(message)
    for index in range(len(fields)):
        unknown[f"{fields[index].field_number} of {where}"] += 1


def _text(value: str | bytes) -> str:
    # proto2 strings that aren't UTF-8 come as bytes.
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
