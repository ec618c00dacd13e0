"""Fuzzes the bodies of POST /detect: multipart forms and JSON.

Every body gives files and parameters within the limits, or a RequestError of a status below 500.
However the network cuts a body into pieces, the result is the same.

The first line of an input is its Content-Type, the rest is the body.
"""

import asyncio
from collections.abc import AsyncIterator

from harness import instrumented, main

with instrumented():
    from detection.errors import RequestError
    from service import uploads
    from service.multipart import MAX_FIELD_BYTES, MAX_FIELDS

MAX_IMAGES = 4


def one(data: bytes) -> None:
    """Read one body, whole and in pieces."""
    head, _, body = data.partition(b"\n")
    content_type = head.decode("latin-1")
    asyncio.run(read_both(content_type, body))


async def read_both(content_type: str, body: bytes) -> None:
    """Read the body in one piece and in pieces of seven bytes, and compare."""
    whole = await read(content_type, body, max(len(body), 1))
    pieces = await read(content_type, body, 7)
    assert whole == pieces, f"it depends on the pieces: {whole} or {pieces}"


async def read(content_type: str, body: bytes, size: int) -> object:
    """What a body holds in comparable form."""

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    try:
        found = await uploads.read(
            content_type,
            "",
            chunks(),
            max_images=MAX_IMAGES,
            deadline=asyncio.get_running_loop().time() + 60,
            read_json=uploads.from_json,
        )
    except RequestError as error:
        assert error.status < 500, error
        assert str(error).strip(), "an error without a message"
        # The text of an error of multipart names the offset in its piece.
        return type(error)
    assert len(found.files) + len(found.urls) <= MAX_IMAGES
    if content_type.startswith("multipart"):
        assert len(found.fields) <= MAX_FIELDS
        assert all(len(value.encode()) <= MAX_FIELD_BYTES for _, value in found.fields)
    files = [file if isinstance(file, bytes) else type(file) for file in found.files]
    return files, found.several, found.fields, found.urls


if __name__ == "__main__":
    main(one)
