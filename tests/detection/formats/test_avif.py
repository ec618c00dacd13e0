"""Reading the coded sizes of an AVIF file."""

import io
import struct
from contextlib import suppress
from typing import Any

import pytest
from PIL import Image

from detection import images
from detection.errors import InvalidImage, TooManyPixels, UnsupportedMediaType
from detection.formats import avif


def file(size: tuple[int, int] = (640, 480), mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red").save(out, "AVIF", speed=10, **options)
    return out.getvalue()


def stating(data: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its header."""
    changed = bytearray(data)
    at = -1
    while (at := changed.find(b"ispe", at + 1)) >= 0:
        changed[at + 8 : at + 16] = struct.pack(">II", width, height)
    return bytes(changed)


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def decode(data: bytes) -> Image.Image:
    return images.decode(data, max_pixels=500_000, background=(0, 0, 0))


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (480, 640), (4096, 17)])
def test_the_coded_size_is_read(size: tuple[int, int]) -> None:
    assert avif.coded_sizes(file(size)) == [size]


def test_transparency_is_a_picture_of_its_own() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (64, 32), (255, 0, 0, 100)).save(out, "AVIF")
    assert avif.coded_sizes(out.getvalue()) == [(64, 32)] * 2


def test_the_first_frame_of_an_animation_is_read() -> None:
    data = file((64, 32), save_all=True, append_images=[Image.new("RGB", (64, 32), "blue")])
    assert set(avif.coded_sizes(data)) == {(64, 32)}
    assert decode(data).size == (64, 32)


@pytest.mark.parametrize("animated", [False, True])
def test_a_picture_that_is_larger_than_its_header_says_is_refused(animated: bool) -> None:
    more: dict[str, Any] = {}
    if animated:
        more = {"save_all": True, "append_images": [Image.new("RGB", (2000, 1000))]}
    data = stating(file((2000, 1000), **more), 8, 8)
    with pytest.raises(TooManyPixels, match="2000 x 1000"):
        decode(data)


def test_the_parts_together_are_limited() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (700, 700), (255, 0, 0, 100)).save(out, "AVIF", speed=10)
    assert decode(out.getvalue()).size == (700, 700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "MOST_CODED", 1)
        with pytest.raises(TooManyPixels, match="together"):
            decode(out.getvalue())


def test_each_cut_of_a_file_is_refused_or_read() -> None:
    data = file((64, 32))
    for length in range(len(data)):
        avif.coded_sizes(data[:length])
        with suppress(InvalidImage, UnsupportedMediaType):
            assert decode(data[:length]).size == (64, 32)


FTYP = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")


def located(count: int, offset: int, length: int) -> bytes:
    """A header whose only item is made of `count` pieces."""
    pieces = struct.pack(">II", offset, length) * count
    iloc = struct.pack(">IBBHHHH", 0, 0x44, 0, 1, 1, 0, count) + pieces
    infe = box(b"infe", struct.pack(">IHH4s", 2 << 24, 1, 0, b"av01") + b"\0")
    iinf = struct.pack(">IH", 0, 1) + infe
    return FTYP + box(b"meta", bytes(4) + box(b"iinf", iinf) + box(b"iloc", iloc))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (located(5000, 0, 1), "more than 4096 pieces"),
        (located(100, 0, 2**31), "pieces of the AVIF file have more bytes than the file"),
        (FTYP + box(b"free", b"") * 20_000, "more than 10000 boxes"),
        (FTYP + box(b"moov", box(b"trak", b"") * 20_000), "more than 10000 boxes"),
        (located(1, 0, 100_000) + b"\x12\0" * 50_000, None),
        (located(1, 100, 100_000).ljust(100, b"\0") + b"\x12\0" * 50_000, None),
    ],
)
def test_a_header_that_takes_too_long_is_refused(data: bytes, reason: str | None) -> None:
    with pytest.raises(InvalidImage, match=reason):
        decode(data)
