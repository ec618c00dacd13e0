import io
from typing import Any

import pytest
from PIL import Image

from detection.formats.media_types import kind


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafavif", "AVIF"),
        (b"\0\0\0\x1cftypmsf1\0\0\0\0msf1miafavis", "AVIF"),
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafheic", "HEIC"),
        (b"\0\0\0\x20ftypisom", "video"),
        (b"BM\0\0", "BMP"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- hi -->\n<svg>", "SVG"),
        (b"<!doctype html><html>", "HTML"),
        (b"PK\x03\x04", "zip archive"),
        (b"hello", "text"),
        ("Grüße".encode(), "text"),
        (b"a" * 2047 + "ü".encode() + b"b", "text"),  # cut in the middle of a character
        (b"", None),
        (b"\0\1\2\3", None),
        (b"\xff\xfe\xfd", None),
    ],
)
def test_content_is_recognised_by_its_first_bytes(data: bytes, expected: str | None) -> None:
    assert kind(data) == expected


def saved(kind: str, mode: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (40, 30)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("compression", [None, "tga_rle"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_targa_file_is_recognised(mode: str, compression: str | None) -> None:
    data = saved("TGA", mode, compression=compression) if mode != "1" else saved("TGA", mode)
    assert kind(data) == "Targa"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_targa_file_of_version_1_is_recognised(mode: str) -> None:
    assert kind(saved("TGA", mode)[:-26]) == "Targa"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_pcx_file_is_recognised(mode: str) -> None:
    assert kind(saved("PCX", mode)) == "PCX"


def test_an_icon_is_recognised() -> None:
    assert kind(saved("ICO", "RGBA")) == "icon"
