"""Refusing compressed BMP files that take unreasonably long."""

import struct

import numpy as np
import pytest

from detection import images
from detection.errors import InvalidImage, TooManyPixels


def rle(width: int, height: int, data: bytes, compression: int = 1) -> bytes:
    """A run-length encoded file of 256 colours, of which only the first four are not black."""
    palette = bytes([0, 0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 0, 255, 0, 0, 0]).ljust(1024, b"\0")
    start = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 0, 0, 0, 0)
    return head + info + palette + data


def decode(data: bytes) -> object:
    return images.decode(data, max_pixels=89_000_000, background=(0, 0, 0))


def test_a_compressed_picture_is_read() -> None:
    pixels = np.asarray(decode(rle(4, 2, b"\x04\x01\0\0\x04\x02\0\x01")))
    assert pixels[1].tolist() == [[255, 255, 255]] * 4
    assert pixels[0].tolist() == [[255, 0, 0]] * 4


@pytest.mark.parametrize("compression", [1, 2])
@pytest.mark.parametrize(("width", "height"), [(60_000, 1000), (2000, 2001), (2000, -2001)])
def test_a_large_compressed_picture_is_refused(width: int, height: int, compression: int) -> None:
    data = rle(width, height, b"\0\0" * 50, compression)
    with pytest.raises(TooManyPixels, match="limit for a compressed BMP is 4 megapixels"):
        decode(data)


def test_a_picture_with_more_data_than_its_pixels_need_is_refused() -> None:
    with pytest.raises(InvalidImage, match="longer than its pixels need"):
        decode(rle(10, 10, b"\x01\x01" * 10**6))
