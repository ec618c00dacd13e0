import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import RequestError
from service import multipart
from service.errors import PayloadTooLarge

BOUNDARY = "frontier"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body_of(files: list[bytes]) -> bytes:
    head = b"--" + BOUNDARY.encode() + b"\r\n"
    disposition = b'Content-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
    parts = b"".join(head + disposition + file + b"\r\n" for file in files)
    return parts + b"--" + BOUNDARY.encode() + b"--\r\n"


def parse(body: bytes, cut: int = 1 << 20, max_parts: int = 100) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), cut):
            yield body[start : start + cut]

    return asyncio.run(multipart.parts(CONTENT_TYPE, chunks(), max_parts=max_parts))


# A part may not hold its own boundary; all else is allowed, line ends and dashes too.
files = st.lists(st.text("\r\n-frontie\0", max_size=40).map(str.encode), max_size=4).filter(
    lambda parts: not any(b"--frontier" in part for part in parts)
)


@given(files, st.integers(1, 60))
def test_parts_come_back_as_sent_however_the_body_is_cut(parts: list[bytes], cut: int) -> None:
    if parts:
        assert parse(body_of(parts), cut) == parts


@given(st.binary(max_size=200), st.integers(1, 60))
def test_any_bytes_are_parts_or_a_problem(body: bytes, cut: int) -> None:
    try:
        parse(b"--frontier\r\n" + body, cut)
    except RequestError as problem:
        answer = problem.status
        assert answer == 400


def test_too_many_parts_are_refused_while_they_stream_in() -> None:
    assert len(parse(body_of([b"x"] * 3), max_parts=3)) == 3
    with pytest.raises(PayloadTooLarge, match="more than 3 images"):
        parse(body_of([b"x"] * 4), max_parts=3)
