"""Decompresses request bodies, as Triton's clients send them, up to a size limit."""

import zlib
from collections.abc import AsyncIterator

from detection.errors import UnsupportedMediaType
from detection.sizes import readable_bytes
from service.body import Held
from service.errors import InvalidRequest, PayloadTooLarge

# zlib.h, inflateInit2: 15 is a zlib header and the largest window, 16 more is a gzip header.
# HTTP's "deflate" is the zlib format (RFC 9110, section 8.4.1.2), and so is Triton's.
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


async def read(chunks: AsyncIterator[bytes], encoding: str, *, max_bytes: int, held: Held) -> bytes:
    """The whole body, decompressed by its Content-Encoding.

    Stops and raises PayloadTooLarge as soon as the result exceeds `max_bytes`.
    """
    body = bytearray()
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        # Not a list of chunks, which takes many times the memory if a client sends byte by byte.
        async for chunk in chunks:
            body += chunk
        return bytes(body)
    if encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType("Content-Encoding: only gzip and deflate are read")
    decompressor = zlib.decompressobj(_WINDOW_BITS[encoding])
    left = max_bytes
    async for chunk in chunks:
        try:
            part = decompressor.decompress(chunk, left + 1)
        except zlib.error as error:
            raise InvalidRequest(f"the {encoding} data of the body is broken: {error}") from None
        left -= len(part)
        if left < 0:
            raise PayloadTooLarge(f"the request body holds more than {readable_bytes(max_bytes)}")
        held.add(len(part))
        body += part
    if not decompressor.eof or decompressor.unused_data:
        raise InvalidRequest(f"the {encoding} data of the body is cut off, or followed by more")
    return bytes(body)
