"""Refusing JPEG files whose markers make them take unreasonably long."""

import io

import pytest
from PIL import Image

from detection import images
from detection.errors import InvalidImage
from detection.formats import jpeg


def file(**options: bool) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def with_scans(more: int, before: bytes = b"") -> bytes:
    """A valid progressive file that repeats its last scan; each scan costs a whole pass."""
    data = file(progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + (before + last) * more + data[-2:]


def with_header(inserted: bytes) -> bytes:
    return file()[:2] + inserted + file()[2:]


def segment(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2, "big") + data


@pytest.mark.parametrize(
    "data",
    [
        file(),
        file(progressive=True),
        with_scans(90),
        with_scans(90, b"\xff\x01"),
        file() + b"\xff\xda" * 1000,
        with_header(b"\xff\xe1\0\x08" + b"\xff\xda" * 3),
        with_header(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 20),
        with_header(segment(0xE2, bytes(60_000)) * 300),
        file()[:-2],
        file()[:100],
        b"\xff\xd8",
        b"",
        b"\xff\xd8\xff\xda",
    ],
)
def test_a_file_with_the_markers_of_real_files_passes(data: bytes) -> None:
    jpeg.check(data)


HOSTILE = [
    (with_scans(91), "more than 100 scans"),
    (with_scans(100_000), "more than 100 scans"),
    # TEM and restart markers have no length: what seems to be one hides the next scan.
    (with_scans(100, b"\xff\x01"), "more than 100 scans"),
    (with_scans(100, b"\xff\xd0"), "more than 100 scans"),
    (with_header(segment(0xE1, b"Exif\0\0") * 33), "more than 32 EXIF segments"),
    # Pillow reads no length after a reserved marker.
    (
        with_header(b"\xff\xf0\xff\xff" + segment(0xE1, b"Exif\0\0") * 33),
        "more than 32 EXIF segments",
    ),
    (with_header(segment(0xFE, b"") * 5001), "more than 5000 segments"),
    (with_header(segment(0xDB, b"\0" + bytes(64)) * 1000), "bytes of tables"),
    (with_header(segment(0xFE, b"") + bytes(70_000)), "bytes between segments"),
    (with_header(b"\xff" * 70_000), "bytes between segments"),
]


@pytest.mark.parametrize(("data", "reason"), HOSTILE)
def test_a_file_that_would_take_too_long_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason):
        images.decode(data, max_pixels=10**6, background=(0, 0, 0))


def test_a_file_with_many_scans_is_read() -> None:
    picture = images.decode(with_scans(20), max_pixels=10**6, background=(0, 0, 0))
    assert picture.size == (256, 256)
