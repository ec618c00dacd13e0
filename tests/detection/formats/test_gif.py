"""Refusing GIF files whose blocks make them take unreasonably long."""

import io

import pytest
from PIL import Image

from detection import images
from detection.errors import InvalidImage
from detection.formats import gif


def with_blocks(inserted: bytes, colours: int = 256) -> bytes:
    """A valid file with blocks before its picture."""
    out = io.BytesIO()
    Image.linear_gradient("L").quantize(colours).save(out, "GIF")
    data = out.getvalue()
    head = 13 + (3 << ((data[10] & 7) + 1)) * (data[10] >> 7)
    return data[:head] + inserted + data[head:]


def comment(*blocks: bytes) -> bytes:
    return b"!\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


@pytest.mark.parametrize(
    "data",
    [
        with_blocks(b""),
        with_blocks(b"", colours=2),
        with_blocks(comment(*[bytes(255)] * 10_000)),
        with_blocks(comment(b"a", b"b") * 1000),
        with_blocks(b"")[:100],
        b"GIF89a",
        b"",
    ],
)
def test_a_file_with_the_blocks_of_real_files_passes(data: bytes) -> None:
    gif.check(data)


@pytest.mark.parametrize(
    "blocks", [comment(*[b"a"] * 50_001), comment() * 50_001, bytes(50_001), comment(b"a") * 25_001]
)
def test_a_file_that_would_take_too_long_is_refused(blocks: bytes) -> None:
    with pytest.raises(InvalidImage, match="more than 50000 blocks before its picture"):
        images.decode(with_blocks(blocks), max_pixels=10**6, background=(0, 0, 0))
