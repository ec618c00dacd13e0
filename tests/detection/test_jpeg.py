"""Counting the scans of JPEG files."""

import io

import pytest
from PIL import Image

from detection import images, jpeg
from detection.errors import InvalidImage


def file(**options: bool) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def with_scans(more: int) -> bytes:
    """A valid progressive file that repeats its last scan; each scan costs a whole pass."""
    data = file(progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * more + data[-2:]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (file(), 1),
        (file(progressive=True), 10),
        (with_scans(50), 60),
        (file() + b"\xff\xda" * 1000, 1),
        (file()[:2] + b"\xff\xe1\0\x08" + b"\xff\xda" * 3 + file()[2:], 1),
        (file()[:-2], 1),
        (file()[:100], 0),
        (b"\xff\xd8", 0),
        (b"", 0),
        (b"\xff\xd8\xff\xda", 1),
        (with_scans(100_000), 101),
    ],
)
def test_scans_are_counted_by_the_markers_of_the_picture(data: bytes, count: int) -> None:
    assert jpeg.scans(data, 100) == count


def test_a_file_that_would_take_hours_is_refused_before_it_is_decoded() -> None:
    decode = {"max_pixels": 10**6, "background": (0, 0, 0)}
    assert images.decode(with_scans(20), **decode).size == (256, 256)  # type: ignore[arg-type]
    with pytest.raises(InvalidImage, match="has more than 100 scans"):
        images.decode(with_scans(100_000), **decode)  # type: ignore[arg-type]
