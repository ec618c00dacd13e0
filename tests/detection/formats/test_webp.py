"""Reading the size in the header of a WebP file."""

import io
import struct
from typing import Any

import pytest
from PIL import Image

from detection import images
from detection.errors import TooManyPixels
from detection.formats import webp


def file(mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (300, 200)).save(out, "WEBP", **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        file(),
        file(lossless=True),
        file("RGBA"),
        file(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        file(save_all=True, append_images=[Image.new("RGB", (300, 200), "red")]),
    ],
    ids=["lossy", "lossless", "alpha", "extended", "animation"],
)
def test_the_size_is_that_of_the_picture(data: bytes) -> None:
    assert webp.size(data) == (300, 200)


@pytest.mark.parametrize("data", [b"", file()[:20], b"RIFF\0\0\0\0WEBPxxxx" + bytes(30)])
def test_a_broken_header_has_no_size(data: bytes) -> None:
    assert webp.size(data) is None


def test_a_huge_canvas_is_refused_before_the_decoder_allocates_it() -> None:
    canvas = struct.pack("<I", 16382)[:3] * 2
    data = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas
    with pytest.raises(TooManyPixels, match="16383 x 16383"):
        images.decode(data, max_pixels=10**6, background=(0, 0, 0))
