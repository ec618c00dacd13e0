"""The parts of a multipart/form-data body, parsed while it streams in (RFC 7578)."""

import re
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from detection.errors import InvalidImage, RequestError
from detection.formats import media_types
from service.errors import InvalidParameter, PayloadTooLarge
from sfd.terminal import counted

# RFC 2046, section 5.1.1.
MAX_BOUNDARY = 70
MAX_FIELDS = 64
"""The most parts that are not files; there are fewer parameters than this."""
MAX_FIELD_BYTES = 1024
"""Longest value of a parameter."""
MAX_PARTS = 1000
"""The most parts of a form whose unknown fields are ignored: each costs time to parse."""
SMALLEST_IMAGE = 26
"""Bytes of the smallest image file: the name of a model may begin with "BM", as a BMP does."""
_TEXT_TYPES = ("", "text/plain")
# RFC 7578, section 4.2, forbids it in forms, but some clients send only this one.
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*\s*=", re.IGNORECASE)


@dataclass(slots=True)
class Part:
    """One part: its name, and the properties that distinguish a file from a form field."""

    name: str = ""
    filename: str | None = None
    media_type: str = ""
    is_described: bool = False
    """Whether its Content-Disposition has been read."""
    data: bytearray = field(default_factory=bytearray)

    @property
    def is_file(self) -> bool:
        """Whether the part is a file: it has a file name, or a type, or the bytes of an image.

        A part with none of them is a form field: a parameter.
        """
        return (
            self.filename is not None
            or self.media_type not in _TEXT_TYPES
            or (
                len(self.data) >= SMALLEST_IMAGE
                and media_types.kind(bytes(self.data[: media_types.HEAD])) in media_types.READ
            )
        )


@dataclass(frozen=True, slots=True)
class Form:
    """The files of a form in their order, and its other fields as (name, value)."""

    files: list[bytes]
    fields: list[tuple[str, str]]


async def read(
    content_type: str,
    chunks: AsyncIterator[bytes],
    *,
    max_files: int,
    known: Collection[str] | None = None,
) -> Form:
    """The files and fields of a form. The names of files do not matter.

    Where `known` is given, fields with other names are ignored, whatever they contain.

    Raises InvalidImage for a body that is not valid multipart, PayloadTooLarge for too many files
    or fields, InvalidParameter for a field that is too long or not UTF-8.
    """
    form = Form([], [])
    max_parts = max_files + MAX_FIELDS if known is None else MAX_PARTS
    async for part in _parts(content_type, chunks, max_parts):
        if part.filename == "" and not part.data:
            # A browser sends this for a file input where nothing was selected.
            continue
        if part.is_file:
            if len(form.files) == max_files:
                raise PayloadTooLarge(f"the request has more than {counted(max_files, 'image')}")
            form.files.append(bytes(part.data))
        elif known is None or part.name in known:
            if len(form.fields) == MAX_FIELDS:
                raise PayloadTooLarge(f"the form has more than {MAX_FIELDS} fields")
            form.fields.append((part.name, _text(part)))
    return form


def _text(part: Part) -> str:
    if len(part.data) > MAX_FIELD_BYTES:
        raise InvalidParameter(
            f"{part.name[:100]}: this form field has no file name, so it is a parameter, but its "
            f"value is longer than {MAX_FIELD_BYTES} bytes. Send a file with a file name, as "
            "`curl -F image=@photo.jpg` does"
        )
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        raise InvalidParameter(f"{part.name[:100]}: the value is not UTF-8") from None


async def _parts(
    content_type: str, chunks: AsyncIterator[bytes], max_parts: int
) -> AsyncIterator[Part]:
    """Each part when it is complete."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY:
        raise InvalidImage("the Content-Type of the multipart body states no valid boundary")
    count = 0
    part = Part()
    ready: list[Part] = []
    header = {"name": b"", "value": b""}
    ended = False

    def begin() -> None:
        nonlocal part, count
        count += 1
        if count > max_parts:
            raise PayloadTooLarge(f"the form has more than {max_parts} parts")
        part = Part()

    def header_name(chunk: bytes, start: int, end: int) -> None:
        header["name"] += chunk[start:end]

    def header_value(chunk: bytes, start: int, end: int) -> None:
        header["value"] += chunk[start:end]

    def header_end() -> None:
        _apply(part, header["name"].lower(), header["value"])
        header.update(name=b"", value=b"")

    def data(chunk: bytes, start: int, end: int) -> None:
        part.data += memoryview(chunk)[start:end]

    def part_end() -> None:
        ready.append(part)

    def end() -> None:
        nonlocal ended
        ended = True

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin,
            "on_header_field": header_name,
            "on_header_value": header_value,
            "on_header_end": header_end,
            "on_part_data": data,
            "on_part_end": part_end,
            "on_end": end,
        },
    )

    def problem_of(step: Callable[..., object], *arguments: bytes) -> RequestError | None:
        try:
            step(*arguments)
        except RequestError as error:
            return error
        except MultipartParseError as error:
            reason = " ".join(str(error).split())[:200]
            return InvalidImage(f"the multipart body is broken: {reason}")
        return None

    async for chunk in chunks:
        problem = problem_of(parser.write, chunk)
        # First the parts before the problem: the answer must not depend on how the network cuts
        # the body.
        while ready:
            yield ready.pop(0)
        if problem is not None:
            raise problem
    if (problem := problem_of(parser.finalize)) is not None:
        raise problem
    if not ended:
        raise InvalidImage("the multipart body is broken: its closing boundary is missing")


def _apply(part: Part, name: bytes, value: bytes) -> None:
    if name == b"content-disposition":
        if part.is_described:
            raise InvalidImage("the multipart body is broken: a part has two Content-Dispositions")
        part.is_described = True
        _, options = parse_options_header(value)
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            part.filename = options[b"filename"].decode("utf-8", "replace")
        elif _EXTENDED_FILENAME.search(value):
            part.filename = ""
    elif name == b"content-type":
        part.media_type = value.partition(b";")[0].strip().lower().decode("latin-1")
