"""Reads the coded sizes of an AVIF file's pictures, which its header can understate.

The header (ISO/IEC 14496-12, 23008-12) states the size to show. The AV1 data within state the size
that is decoded and then scaled: a file of 10 KB that says 8 x 8 can decode to 16,384 x 16,384.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from detection.errors import InvalidImage

MOST_BOXES = 10_000
"""The parts of the header."""
MOST_EXTENTS = 4096
"""Pieces of a file that its items are made of. A grid of 12 megapixels has about 50 items."""
MOST_UNITS = 10_000
"""Parts of one item's AV1 data."""
_SEQUENCE_HEADER = 1
_PATH = (b"trak", b"mdia", b"minf", b"stbl")
"""From an animation to the table of a track's frames."""


def coded_sizes(data: bytes) -> list[tuple[int, int]]:
    """Width and height of each picture, tile and plane of transparency that a file may decode.

    Of an animation: of its first frame. Raises InvalidImage for a structure that takes unreasonably
    long to read.
    """
    found: list[tuple[int, int]] = []
    # libavif refuses a file that ends in its header, and does not read all items of others.
    with suppress(struct.error, IndexError):
        for piece in _pieces(data):
            with suppress(IndexError):
                found.extend(_sizes(piece))
    return found


Box = tuple[bytes, int, int]
"""The type of a box, and where its content starts and ends."""


class _Boxes:
    """The boxes of a file, up to a number."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = MOST_BOXES

    def inside(self, start: int, end: int) -> Iterator[Box]:
        """The boxes of a part of the file."""
        for box in _boxes(self.data, start, end):
            self.left -= 1
            if self.left < 0:
                raise InvalidImage(f"the AVIF file has more than {MOST_BOXES} boxes")
            yield box


def _boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = end if size == 0 else min(start + size, end)
        if stop < start + head:
            return
        yield kind, start + head, stop
        start = stop


def _pieces(data: bytes) -> Iterator[bytes]:
    """The AV1 data of each coded item and of each track's first frame."""
    boxes = _Boxes(data)
    for kind, start, end in boxes.inside(0, len(data)):
        if kind == b"meta":
            yield from _items(boxes, start + 4, end)
        elif kind == b"moov":
            yield from _frames(boxes, start, end, _PATH)


def _items(boxes: _Boxes, start: int, end: int) -> Iterator[bytes]:
    data = boxes.data
    inside = {kind: (first, last) for kind, first, last in boxes.inside(start, end)}
    if b"iloc" not in inside or b"iinf" not in inside:
        return
    coded = _coded_items(boxes, *inside[b"iinf"])
    own = inside.get(b"idat", (0, 0))
    for number, is_inside, extents in _locations(data, inside[b"iloc"][0]):
        first, last = own if is_inside else (0, len(data))
        content = b"".join(
            data[first + offset : min(first + offset + length, last) if length else last]
            for offset, length in extents
        )
        if number in coded:
            yield content


def _coded_items(boxes: _Boxes, start: int, end: int) -> set[int]:
    """The numbers of the items that are AV1 data."""
    data = boxes.data
    found = set()
    for kind, first, _ in boxes.inside(start + (8 if data[start] else 6), end):
        if kind == b"infe" and data[first] in (2, 3):
            number, _, what = struct.unpack_from(
                ">HH4s" if data[first] == 2 else ">IH4s", data, first + 4
            )
            if what == b"av01":
                found.add(number)
    return found


@dataclass
class _Reader:
    """Reads big-endian numbers of any size."""

    data: bytes
    position: int

    def number(self, size: int) -> int:
        """A number of so many bytes."""
        if self.position + size > len(self.data):
            raise IndexError
        self.position += size
        return int.from_bytes(self.data[self.position - size : self.position], "big")


def _locations(data: bytes, start: int) -> Iterator[tuple[int, bool, list[tuple[int, int]]]]:
    """Of each item its number, whether it is inside the header, and its pieces: offset, length."""
    reader = _Reader(data, start)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    wide = version == 2
    extents = total = 0
    for _ in range(reader.number(4 if wide else 2)):
        number = reader.number(4 if wide else 2)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(sizes >> 4 & 15)
        pieces = []
        for _ in range(reader.number(2)):
            if version:
                reader.number(sizes & 15)
            offset, length = reader.number(sizes >> 12), reader.number(sizes >> 8 & 15)
            pieces.append((base + offset, length))
            extents += 1
            total += min(length, len(data))
            if extents > MOST_EXTENTS:
                raise InvalidImage(f"the AVIF file has more than {MOST_EXTENTS} pieces")
            # libavif puts the pieces of an item together.
            if total > 2 * len(data):
                raise InvalidImage("the pieces of the AVIF file have more bytes than the file")
        yield number, method == 1, pieces


def _frames(boxes: _Boxes, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[bytes]:
    """The first frame of each track."""
    if path:
        for kind, first, last in boxes.inside(start, end):
            if kind == path[0]:
                yield from _frames(boxes, first, last, path[1:])
        return
    data = boxes.data
    inside = {kind: first for kind, first, _ in boxes.inside(start, end)}
    if b"stsz" not in inside:
        return
    same, count, size = struct.unpack_from(">III", data, inside[b"stsz"] + 4)
    for kind, number in ((b"stco", "I"), (b"co64", "Q")):
        if kind in inside and count:
            _, offset = struct.unpack_from(f">I{number}", data, inside[kind] + 4)
            yield data[offset : offset + (same or size)]


def _sizes(content: bytes) -> Iterator[tuple[int, int]]:
    """The sizes in the sequence headers of AV1 data (AV1 specification, sections 5.3 and 5.5)."""
    position = units = 0
    while position < len(content):
        units += 1
        if units > MOST_UNITS:
            raise InvalidImage(f"the AV1 data has more than {MOST_UNITS} parts")
        head = content[position]
        position += 2 if head & 4 else 1
        length = len(content) - position
        if head & 2:
            length = 0
            for index in range(8):
                if position >= len(content):
                    return
                byte = content[position]
                position += 1
                length |= (byte & 127) << 7 * index
                if not byte & 128:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            # The longest has 32 operating points of 22 bytes at most.
            yield _size_of_sequence(_Bits(content[position : position + min(length, 1024)]))
        position += length


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise IndexError
        return self.value >> self.left & (1 << count) - 1


def _size_of_sequence(bits: _Bits) -> tuple[int, int]:
    """The largest frame of a sequence, from its header."""
    bits.take(3 + 1)
    if bits.take(1):  # reduced_still_picture_header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(wide) + 1, bits.take(high) + 1


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing_info_present_flag
        bits.take(32 + 32)
        if bits.take(1):  # equal_picture_interval, then a number of variable length
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(zeros if zeros < 32 else 0)
        if bits.take(1):  # decoder_model_info_present_flag
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5 + 5)
    has_initial_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_initial_delay and bits.take(1):
            bits.take(4)
