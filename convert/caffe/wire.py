"""The wire format of a caffemodel, as far as it takes to leave large blobs where they lie.

protobuf's parser copies all numbers of a file, and NumPy copies them once more out of protobuf. For
a file of half a gigabyte that is most of the memory and time of reading it. So the numbers of large
blobs are cut out before the parser sees the file, and become views of it.
"""

import mmap
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from geometry.arrays import F32

Buffer = bytes | mmap.mmap
Place = tuple[int, int, int]
"""Where a blob is: the field number of its layer's list, the layer's position, its own."""

LAYER, OLD_LAYER = 100, 2
"""NetParameter.layer and NetParameter.layers."""
_BLOBS = {LAYER: 7, OLD_LAYER: 6}
_DATA = 5
_LEAST_BYTES = 4096
_LENGTH = 2


class WireError(ValueError):
    """The bytes are not a well-formed message."""


def cut(data: Buffer) -> tuple[bytes, Mapping[Place, F32]]:
    """The message without the `data` of its large blobs, and these as views of `data`.

    Raises WireError where the bytes end early, or have a field of number 0 or of an unknown wire
    type. Then the parser of protobuf says what is wrong.
    """
    view = memoryview(data)
    found: dict[Place, F32] = {}
    kept = bytearray()
    positions = dict.fromkeys(_BLOBS, 0)
    for number, start, content, end in _fields(view, 0, len(view)):
        if number not in _BLOBS or content < 0:
            kept += view[start:end]
            continue
        layer = _layer(view, content, end, number, positions[number], found)
        positions[number] += 1
        kept += _field(number, layer)
    return bytes(kept), found


def release(arrays: Iterable[F32]) -> None:
    """Let the system forget the pages of mapped files that these arrays view, until next read."""
    maps = {id(root): root for root in map(_root, arrays) if isinstance(root, mmap.mmap)}
    for mapped in maps.values():
        mapped.madvise(mmap.MADV_DONTNEED)


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def header(number: int, length: int) -> bytes:
    """What stands before the content of a field that has a length."""
    return varint(number << 3 | _LENGTH) + varint(length)


def _root(array: object) -> object:
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def _field(number: int, content: bytes | bytearray) -> bytes:
    return header(number, len(content)) + content


def _layer(
    view: memoryview, start: int, end: int, field: int, position: int, found: dict[Place, F32]
) -> bytearray:
    kept = bytearray()
    index = 0
    for number, begin, content, stop in _fields(view, start, end):
        if number != _BLOBS[field] or content < 0:
            kept += view[begin:stop]
            continue
        blob, values = _blob(view, content, stop)
        if values is not None:
            found[field, position, index] = values
        kept += _field(number, blob)
        index += 1
    return kept


def _blob(view: memoryview, start: int, end: int) -> tuple[bytes | bytearray, F32 | None]:
    """A BlobProto without its packed `data`, if that is large and in one piece."""
    if end - start < _LEAST_BYTES:
        return bytes(view[start:end]), None
    kept = bytearray()
    values: list[F32] = []
    for number, begin, content, stop in _fields(view, start, end):
        if number != _DATA:
            kept += view[begin:stop]
        elif content < 0 or (stop - content) % 4 or values:
            return bytes(view[start:end]), None
        else:
            values.append(np.frombuffer(view[content:stop], "<f4"))
    return (kept, values[0]) if values else (kept, None)


def _fields(view: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, start, start of its content (-1 without a length), and end."""
    while position < end:
        start = position
        tag, position = _read_varint(view, position, end)
        if tag >> 3 == 0:
            raise WireError("field number 0")
        content = -1
        match tag & 7:
            case 0:
                _, position = _read_varint(view, position, end)
            case 1:
                position += 8
            case 2:
                length, content = _read_varint(view, position, end)
                position = content + length
            case 5:
                position += 4
            case other:
                raise WireError(f"wire type {other}")
        if position > end:
            raise WireError("a field runs past the end of its message")
        yield tag >> 3, start, content, position


def _read_varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise WireError("a number runs past the end of its message")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number of more than ten bytes")
