"""Refusing TIFF files whose directory makes them take unreasonably long."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from PIL import Image

from detection import images
from detection.errors import InvalidImage
from detection.formats import tiff

FORMATS = {1: "B", 3: "H", 4: "L", 16: "Q"}


def file(
    width: int,
    height: int,
    tags: Mapping[int, tuple[int, Sequence[int]]],
    pixels: bytes = b"",
    *,
    order: str = "<",
    big: bool = False,
) -> bytes:
    """A gray picture: header, pixels from byte 16, long values, and the directory with `tags`."""
    merged = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        277: (3, [1]),
        278: (4, [height]),
        273: (4, [16]),
        279: (4, [len(pixels)]),
    } | dict(tags)
    room, body, entries = (8 if big else 4), bytearray(pixels), b""
    for tag, (kind, values) in sorted(merged.items()):
        packed = struct.pack(f"{order}{len(values)}{FORMATS[kind]}", *values)
        inline = packed.ljust(room, b"\0")
        if len(packed) > room:
            inline = struct.pack(order + ("Q" if big else "L"), 16 + len(body))
            body += packed
        entries += struct.pack(order + ("HHQ" if big else "HHL"), tag, kind, len(values)) + inline
    start = 16 + len(body)
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, start)
        count = struct.pack(order + "Q", len(merged))
    else:
        head = (mark + struct.pack(order + "HL", 42, start)).ljust(16, b"\0")
        count = struct.pack(order + "H", len(merged))
    return head + bytes(body) + count + entries + bytes(8)


def decode(data: bytes) -> Image.Image:
    return images.decode(data, max_pixels=89_000_000, background=(0, 0, 0))


def saved(size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size).save(out, "TIFF", **options)
    return out.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {278: (4, [1]), 273: (4, range(16, 16 + 20 * 30, 20)), 279: (4, [20] * 30)},
        # Strips that share their pixels, as of an empty picture.
        {278: (4, [1]), 273: (4, [16] * 30), 279: (4, [20] * 30)},
        # No RowsPerStrip is written as the largest number.
        {278: (4, [2**32 - 1])},
        {279: (4, [2**32 - 1])},
    ],
)
def test_a_file_with_the_strips_of_real_files_is_read(
    tags: dict[int, tuple[int, Sequence[int]]], order: str
) -> None:
    data = file(20, 30, tags, b"\x80" * 600, order=order)
    assert decode(data).getpixel((19, 29)) == (128, 128, 128)


def test_a_bigtiff_is_read() -> None:
    assert decode(file(20, 30, {}, b"\x80" * 600, big=True)).size == (20, 30)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
def test_a_file_of_each_compression_is_read(compression: str | None) -> None:
    assert decode(saved(compression=compression)).size == (64, 48)


def test_a_picture_of_the_tallest_size_with_a_strip_for_each_row_is_read() -> None:
    data = saved((4, 65_535), tiffinfo={278: 1})
    assert decode(data).size == (4, 65_535)


WHOLE = zlib.compress(bytes(1000))
HOSTILE = {
    "a strip for each of a million pixels": (
        file(1000, 1000, {278: (4, [1]), 273: (4, range(16, 100_017)), 279: (4, [1] * 100_001)}),
        "more than 100000 strips or tiles",
    ),
    # Pillow reads the first strip in steps of a byte, and adds each to what it has.
    "strips a byte apart": (
        file(60_000, 2, {278: (4, [1]), 273: (4, [16, 17])}, bytes(120_000)),
        "strips of the TIFF file overlap",
    ),
    "strips a byte apart as bytes": (
        file(200, 2, {278: (4, [1]), 273: (1, [16, 17])}, bytes(400)),
        "strips of the TIFF file overlap",
    ),
    "tiles a byte apart": (
        file(
            20_000,
            20,
            {322: (4, [10_000]), 323: (4, [20]), 324: (4, [16, 17]), 325: (4, [9, 9]),
             273: (4, []), 279: (4, [])},
            bytes(400_000),
        ),
        "overlap",
    ),
    "the whole file in each strip": (
        file(
            100,
            9000,
            {259: (3, [8]), 278: (4, [1]), 273: (4, [16] * 9000), 279: (4, [100_000] * 9000)},
            WHOLE + bytes(100_000),
        ),
        "strips of the TIFF file have more bytes than the file",
    ),
    "a tile far larger than the picture": (
        file(
            8,
            8,
            {259: (3, [8]), 322: (4, [30_000]), 323: (4, [30_000]), 324: (4, [16]),
             325: (4, [len(WHOLE)])},
            WHOLE,
        ),
        "tiles of the TIFF file are far larger than its picture",
    ),
    "a million bits per sample": (
        file(8, 8, {258: (3, [8] * 200_001)}, bytes(64)),
        "tag 258 of the TIFF file has more than 200000 values",
    ),
    "a million resolutions": (
        file(8, 8, {282: (4, [1] * 200_001)}, bytes(64)),
        "tag 282 of the TIFF file has more than 200000 values",
    ),
    "a directory of 5,000 entries": (
        file(8, 8, {tag: (3, [1]) for tag in range(40_000, 45_000)}, bytes(64)),
        "more than 4096 entries",
    ),
    "two lists of strips": (
        (lambda data: data.replace(struct.pack("<H", 279), struct.pack("<H", 273), 1))(
            file(60, 20, {}, b"\x80" * 1200)
        ),
        "tag 273 twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_file_that_would_take_too_long_is_refused(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(InvalidImage, match=reason):
        decode(data)


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II+\0" + bytes(8), file(8, 8, {})[:-30], b"MM\0*\xff\xff\xff\xff"]
)
def test_a_cut_directory_passes(data: bytes) -> None:
    tiff.check(data)
