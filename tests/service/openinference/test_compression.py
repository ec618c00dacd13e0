import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from detection.errors import UnsupportedMediaType
from service.body import BodyMemory
from service.errors import InvalidRequest, PayloadTooLarge
from service.openinference import compression

TEXT = b"a tensor " * 1000
# Without the time of day: several processes must collect the same tests.
GZIPPED = gzip.compress(TEXT, mtime=0)


def read(body: bytes, encoding: str, max_bytes: int = 20_000) -> tuple[bytes, int]:
    """The body read in chunks, and how many bytes were held for it."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    with BodyMemory(10**9).hold() as held:
        text = asyncio.run(compression.read(chunks(), encoding, max_bytes=max_bytes, held=held))
        return text, held.count


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", GZIPPED),
        ("GZIP", GZIPPED),
        ("deflate", zlib.compress(TEXT)),
        ("gzip", gzip.compress(b"", mtime=0)),
    ],
)
def test_a_body_is_decoded_by_its_content_encoding(encoding: str, body: bytes) -> None:
    assert read(body, encoding)[0] == (TEXT if len(body) > 25 else b"")


def test_decompressed_bytes_count_as_memory_too() -> None:
    assert read(GZIPPED, "gzip")[1] == len(TEXT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_stopped_at_the_limit(encoding: str) -> None:
    bomb = b"\0" * 50_000_000
    body = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    with pytest.raises(PayloadTooLarge):
        read(body, encoding)


def test_a_body_at_the_limit_is_read() -> None:
    assert len(read(GZIPPED, "gzip", len(TEXT))[0]) == len(TEXT)
    with pytest.raises(PayloadTooLarge):
        read(GZIPPED, "gzip", len(TEXT) - 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        GZIPPED[:-9],
        GZIPPED + b"more",
        GZIPPED[:-4] + b"\0\0\0\0",
    ],
)
def test_broken_data_is_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(body, "gzip")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_another_encoding_is_not_supported(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read(TEXT, encoding)
