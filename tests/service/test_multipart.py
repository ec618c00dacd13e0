import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.errors import InvalidImage, RequestError
from service import multipart
from service.errors import InvalidParameter, PayloadTooLarge

BOUNDARY = "frontier"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body_of(files: list[bytes]) -> bytes:
    head = b"--" + BOUNDARY.encode() + b"\r\n"
    disposition = b'Content-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
    parts = b"".join(head + disposition + file + b"\r\n" for file in files)
    return parts + b"--" + BOUNDARY.encode() + b"--\r\n"


def parse(
    body: bytes,
    cut: int = 1 << 20,
    max_files: int = 100,
    known: tuple[str, ...] | None = None,
) -> multipart.Form:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), cut):
            yield body[start : start + cut]

    reading = multipart.read(CONTENT_TYPE, chunks(), max_files=max_files, known=known)
    return asyncio.run(reading)


# A part may contain anything except its own boundary, even line ends and dashes.
files = st.lists(st.text("\r\n-frontie\0", max_size=40).map(str.encode), max_size=4).filter(
    lambda parts: not any(b"--frontier" in part for part in parts)
)


@given(files, st.integers(1, 60))
def test_parts_are_read_as_sent_however_the_body_is_split(parts: list[bytes], cut: int) -> None:
    if parts:
        assert parse(body_of(parts), cut) == multipart.Form(parts, [])


@given(st.binary(max_size=200), st.integers(1, 60))
def test_any_bytes_give_parts_or_an_error(body: bytes, cut: int) -> None:
    try:
        parse(b"--frontier\r\n" + body, cut)
    except RequestError as problem:
        answer = problem.status
        assert answer in (400, 413, 422)


def test_too_many_parts_are_refused_while_they_stream_in() -> None:
    assert len(parse(body_of([b"x"] * 3), max_files=3).files) == 3
    with pytest.raises(PayloadTooLarge, match="more than 3 images"):
        parse(body_of([b"x"] * 4), max_files=3)
    with pytest.raises(PayloadTooLarge, match=r"more than 1 image$"):
        parse(body_of([b"x"] * 2), max_files=1)


def part(head: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FIELD = 'Content-Disposition: form-data; name="min_score"'
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_of_two_problems_the_first_is_answered_however_the_body_is_cut(cut: int) -> None:
    with pytest.raises(InvalidParameter, match="min_score: the value is not UTF-8"):
        parse(part(FIELD, b"\xff") + f"--{BOUNDARY}\r\nbroken\r\n".encode(), cut)


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_a_part_without_a_file_name_is_a_field(cut: int) -> None:
    file = part('Content-Disposition: form-data; name="image"; filename="a.jpg"', b"abc")
    text = part(FIELD + "\r\nContent-Type: text/plain; charset=utf-8", b"0.3")
    assert parse(form(part(FIELD, b"0.5"), file, text), cut) == multipart.Form(
        [b"abc"], [("min_score", "0.5"), ("min_score", "0.3")]
    )


@pytest.mark.parametrize(
    "head",
    [
        FIELD + "\r\nContent-Type: application/octet-stream",
        FIELD + "\r\nContent-Type: image/png",
        FIELD,
    ],
)
def test_a_part_with_a_type_or_the_bytes_of_an_image_is_a_file(head: str) -> None:
    assert parse(form(part(head, PNG))) == multipart.Form([PNG], [])


def test_a_model_name_that_begins_like_a_bmp_file_is_a_field() -> None:
    assert parse(form(part(FIELD.replace("min_score", "model"), b"BMW"))).fields == [
        ("model", "BMW")
    ]


def test_a_file_name_in_the_extended_notation_alone_makes_a_file() -> None:
    head = "Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''f%C3%BC.heic"
    assert parse(form(part(head, b"whatever"))) == multipart.Form([b"whatever"], [])


def test_a_part_that_describes_itself_twice_is_refused() -> None:
    twice = FIELD + '\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"'
    with pytest.raises(InvalidImage, match="two Content-Dispositions"):
        parse(form(part(twice, b"0.5")))


@pytest.mark.parametrize(
    "head", ["X: y", "Content-Disposition: form-data", 'Content-Disposition: form-data; name=""']
)
def test_a_part_without_a_name_is_a_field_without_one(head: str) -> None:
    assert parse(form(part(head, b"0.5"))).fields == [("", "0.5")]


def test_a_field_that_is_too_long_says_how_to_send_a_file() -> None:
    with pytest.raises(InvalidParameter, match=r"curl -F image=@photo\.jpg"):
        parse(form(part(FIELD, b"x" * 2000)))


def test_too_many_fields_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="more than 64 fields"):
        parse(form(*[part(FIELD, b"0.5")] * 65))


def test_a_file_input_where_nothing_was_selected_is_no_file() -> None:
    """Browsers send an empty part with an empty file name for it."""
    head = b'--frontier\r\nContent-Disposition: form-data; name="b"; filename=""\r\n'
    unselected = head + b"Content-Type: application/octet-stream\r\n\r\n\r\n"
    assert parse(unselected + body_of([b"abc"])) == multipart.Form([b"abc"], [])
    assert parse(unselected + b"--frontier--\r\n") == multipart.Form([], [])


@pytest.mark.parametrize("cut", [7, 1 << 20])
def test_unknown_fields_are_ignored_whatever_they_contain(cut: int) -> None:
    others = [
        part(FIELD.replace("min_score", name), content)
        for name, content in [("note", b"x" * 2000), ("blob", b"\xff"), ("", b"")] * 30
    ]
    found = parse(form(*others, part(FIELD, b"0.5")), cut, max_files=1, known=("min_score",))
    assert found == multipart.Form([], [("min_score", "0.5")])


def test_known_fields_keep_their_limits() -> None:
    with pytest.raises(InvalidParameter, match="longer than 1024 bytes"):
        parse(form(part(FIELD, b"x" * 2000)), known=("min_score",))
    with pytest.raises(PayloadTooLarge, match="more than 64 fields"):
        parse(form(*[part(FIELD, b"0.5")] * 65), known=("min_score",))


def test_the_number_of_ignored_fields_is_limited() -> None:
    other = part(FIELD, b"")
    assert parse(form(*[other] * 1000), known=()) == multipart.Form([], [])
    with pytest.raises(PayloadTooLarge, match="more than 1000 parts"):
        parse(form(*[other] * 1001), known=())
