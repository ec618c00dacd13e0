"""Reads the first directory of a TIFF file, and refuses files that take too long.

TIFF 6.0; BigTIFF has wider numbers. Pillow makes a Python object of each strip and of each value,
and reads an uncompressed strip in steps as long as the distance to the next strip. libtiff decodes
whole tiles, however small the picture is.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detection.errors import InvalidImage
from geometry.arrays import I64

MOST_ENTRIES = 4096
"""Of a directory; libtiff has the same limit."""
MOST_STRIPS = 100_000
"""Strips or tiles. One for each row of the tallest picture is two thirds of this."""
MOST_VALUES = 200_000
"""Of a tag that Pillow reads. The longest is a palette of 16 bits, with 196,608."""
LARGEST_TILE = 4096 * 4096
"""Pixels of a tile of a small picture."""
MOST_READING = 4
"""The strips together have at most this many times the bytes of the file: they may share some."""
SMALL_FILE = 16 * 2**20
SHORTEST_STEP = 16
"""Uncompressed strips may overlap, but a strip begins at least a 16th of a strip after another."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANES = 256, 257, 258, 259, 277, 284
_STRIP_OFFSETS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
# Besides: photometric interpretation, fill order, orientation, resolutions and their unit, colour
# map, extra samples, sample format, subsampling.
_READ = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANES, _STRIP_OFFSETS, _ROWS, _STRIP_BYTES),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES),
    *(262, 266, 274, 282, 283, 296, 320, 338, 339, 530),
}
_STRIPS = {_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES}
# Types of whole numbers, bytes among them.
_NUMBERS = {
    1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 13: "u4", 16: "u8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Directory:
    """The numbers of a directory by tag."""

    values: Mapping[int, I64] = field(default_factory=dict)

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        found = self.values.get(tag)
        return int(found[0]) if found is not None and len(found) else default

    def array(self, tag: int) -> I64:
        """The values of a tag; none if the directory lacks it."""
        return self.values.get(tag, np.zeros(0, np.int64))


def check(data: bytes) -> None:
    """Raise InvalidImage for a file whose directory makes it take unreasonably long."""
    directory = _read(data)
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    tile = directory.number(_TILE_WIDTH, 0) * directory.number(_TILE_HEIGHT, 0)
    if tile > max(LARGEST_TILE, 4 * width * height):
        raise InvalidImage("the tiles of the TIFF file are far larger than its picture")
    if directory.number(_COMPRESSION, 1) == 1:
        # Pillow's own order.
        if _STRIP_OFFSETS in directory.values:
            _check_steps(directory, _STRIP_OFFSETS, width, directory.number(_ROWS, height))
        else:
            across = directory.number(_TILE_WIDTH, width)
            _check_steps(directory, _TILE_OFFSETS, across, directory.number(_TILE_HEIGHT, height))
        return
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        _check_sizes(directory.array(offsets), directory.array(sizes), len(data))


def _check_sizes(offsets: I64, sizes: I64, length: int) -> None:
    """Refuse compressed strips that have more bytes than the file."""
    count = min(len(offsets), len(sizes))
    # Sizes beyond the end of the file are common in broken files, and cost nothing.
    present = np.clip(length - offsets[:count], 0, None)
    if int(np.minimum(sizes[:count], present).sum()) > MOST_READING * length + SMALL_FILE:
        raise InvalidImage("the strips of the TIFF file have more bytes than the file")


def _check_steps(directory: Directory, offsets: int, width: int, height: int) -> None:
    """Refuse uncompressed strips of this size that begin shortly after one another."""
    width = min(width, directory.number(_WIDTH, 0))
    height = min(height, directory.number(_HEIGHT, 0))
    bits = directory.array(_BITS)
    depth = int(bits.max()) if len(bits) else 1
    if directory.number(_PLANES, 1) != 2:
        depth *= max(len(bits), directory.number(_SAMPLES, 1))
    steps = np.diff(np.sort(directory.array(offsets)))
    # Pillow reads strips at the same place in long steps.
    shortest = int(steps[steps > 0].min(initial=2**62))
    if shortest < width * height * depth // 8 // SHORTEST_STEP:
        raise InvalidImage("the strips of the TIFF file overlap")


def _read(data: bytes) -> Directory:
    """The numbers of the first directory, as far as they are there."""
    order = ">" if data[:2] == b"MM" else "<"
    # As Pillow sees it.
    big = data[2:3] == b"+"
    entry = struct.Struct(order + ("HHQ8s" if big else "HHL4s"))
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    except (struct.error, OverflowError):
        return Directory()
    if count > MOST_ENTRIES:
        raise InvalidImage(f"the TIFF directory has more than {MOST_ENTRIES} entries")
    values: dict[int, I64] = {}
    first = start + (8 if big else 2)
    for position in range(first, first + count * entry.size, entry.size):
        if position + entry.size > len(data):
            break
        tag, kind, length, inline = entry.unpack_from(data, position)
        if tag not in _READ or not length:
            continue
        if tag in _STRIPS and tag in values:
            # Pillow and libtiff may take another one than this module.
            raise InvalidImage(f"the TIFF directory has tag {tag} twice")
        if tag in _STRIPS and length > MOST_STRIPS:
            raise InvalidImage(f"the TIFF file has more than {MOST_STRIPS} strips or tiles")
        if length > MOST_VALUES:
            raise InvalidImage(f"tag {tag} of the TIFF file has more than {MOST_VALUES} values")
        if kind in _NUMBERS and tag not in values:
            values[tag] = _numbers(data, order, kind, length, inline)
    return Directory(values)


def _numbers(data: bytes, order: str, kind: int, length: int, inline: bytes) -> I64:
    """The values of an entry, as many as the file has."""
    dtype = np.dtype(order + _NUMBERS[kind])
    size = length * dtype.itemsize
    if size > len(inline):
        start = int.from_bytes(inline, "big" if order == ">" else "little")
        inline = data[start : start + size]
    inline = inline[: min(size, len(inline) // dtype.itemsize * dtype.itemsize)]
    # Larger numbers are beyond the end of any file.
    return np.minimum(np.frombuffer(inline, dtype).astype(np.int64), 2**40)
