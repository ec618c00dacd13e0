"""The parts of a multipart/form-data body, parsed while it streams in (RFC 7578)."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from detection.errors import InvalidImage
from service.errors import PayloadTooLarge

# RFC 2046, section 5.1.1.
MAX_BOUNDARY = 70


async def parts(content_type: str, chunks: AsyncIterator[bytes], *, max_parts: int) -> list[bytes]:
    """The contents of all parts in order; field and file names do not matter.

    Raises InvalidImage for a body that is no multipart, PayloadTooLarge for too many parts.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise InvalidImage("the Content-Type of the multipart body states no valid boundary")
    found: list[bytearray] = []
    ended = False

    def begin() -> None:
        if len(found) == max_parts:
            raise PayloadTooLarge(f"the request has more than {max_parts} images")
        found.append(bytearray())

    def data(chunk: bytes, start: int, end: int) -> None:
        found[-1] += memoryview(chunk)[start:end]

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        parser = MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": end}
        )
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidImage(f"the multipart body is broken: {reason}") from None
    if not ended:
        raise InvalidImage("the multipart body is broken: its closing boundary is missing")
    return [bytes(part) for part in found]
