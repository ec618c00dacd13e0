"""Refusing PNG files whose chunks make them take unreasonably long."""

import io
import struct
import zlib

import pytest
from PIL import Image

from detection import images
from detection.errors import InvalidImage
from detection.formats import png


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: bytes) -> bytes:
    """A valid file with more chunks behind its header."""
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG")
    head = 8 + 25
    return out.getvalue()[:head] + b"".join(chunks) + out.getvalue()[head:]


MIB = zlib.compress(bytes(2**20))
PROFILE = chunk(b"iCCP", b"p\0\0" + MIB)
# Pillow does not count the memory of a text without a keyword.
TEXT = chunk(b"zTXt", b"\0\0" + MIB)
INTERNATIONAL = chunk(b"iTXt", b"\0\x01\0\0\0" + MIB)


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(),
        with_chunks(PROFILE, *[TEXT] * 20, *[chunk(b"tEXt", b"a\0b")] * 1000),
        with_chunks(chunk(b"IDAT", b"") * 2000),
        with_chunks()[:-40],
        with_chunks()[:20],
        b"",
    ],
)
def test_a_file_with_the_chunks_of_real_files_passes(data: bytes) -> None:
    png.check(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_chunks(*[PROFILE] * 65), "more than 64 colour profiles and texts"),
        (with_chunks(*[TEXT] * 65), "more than 64 colour profiles and texts"),
        (with_chunks(*[INTERNATIONAL] * 65), "more than 64 colour profiles and texts"),
        (with_chunks(*[PROFILE, TEXT, INTERNATIONAL] * 22), "colour profiles and texts"),
        # Pillow reads the chunks behind the pixels, too.
        (with_chunks()[:-12] + PROFILE * 65 + chunk(b"IEND", b""), "colour profiles and texts"),
        (with_chunks(chunk(b"IDAT", b"") * 50_001), "more than 50000 chunks"),
    ],
)
def test_a_file_that_would_take_too_long_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason):
        images.decode(data, max_pixels=10**6, background=(0, 0, 0))
