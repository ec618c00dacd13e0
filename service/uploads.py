"""The image files and parameters in the body of a request."""

import asyncio
import base64
import binascii
import json
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from detection.deadline import until
from detection.errors import InvalidImage, RequestError, UnsupportedMediaType
from service import multipart
from service.errors import InvalidParameter, PayloadTooLarge
from sfd.terminal import counted
from sfd.validation import words

BLANKS = b" \t\n\r\v\f"
MOST_BRACKETS = 16
"""A valid body opens two. For a few more, the parser's error is better than this limit's."""
MOST_PARAMETERS = 64
"""The most members of a JSON body besides the images; there are fewer parameters than this."""
_MEMBER = re.compile(rb'"[ \t\n\r]*:')
"""The end of a member's name in JSON."""

_GUESSED_TYPES = ("", "application/x-www-form-urlencoded", "text/plain", "text/json")
"""Content types of JSON without a JSON label; curl -d sends the second."""

Body = TypeVar("Body", bound=BaseModel)
Field = tuple[str, str]
"""The name and the text of a parameter."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """Files in the order they were sent, and whether the answer is one result or a list."""

    files: list[bytes | RequestError]
    several: bool
    fields: tuple[Field, ...] = ()
    """Parameters that came with them, as form fields or JSON members."""
    urls: tuple[str, ...] = ()
    """Where the files are, if none were sent."""


class JsonReader(Protocol):
    """Reads the images and parameters of a JSON body; each API has its own members."""

    def __call__(self, body: bytes, *, max_images: int) -> Uploads:
        """Raises RequestError for anything else."""


class JsonImages(BaseModel):
    """A JSON body: `image` for one image, or `images` for a list, each in base64.

    Or `url` and `urls`: where the images are. Other members are parameters.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    image: str | None = None
    images: list[str] | None = None
    url: str | None = None
    urls: list[str] | None = None


async def read(
    content_type: str,
    content_encoding: str,
    chunks: AsyncIterator[bytes],
    *,
    max_images: int,
    deadline: float,
    read_json: JsonReader,
    known: Collection[str] | None = None,
) -> Uploads:
    """Read a body by its Content-Type: multipart, JSON, or else the bytes of one image.

    The format of a single file is recognised from its bytes, whatever its label. Raises Timeout
    at `deadline` of the event loop's clock. `read_json` is `from_json`, or another API's. `known`
    names the fields of a form that the API has, if it ignores others.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType(
            "compressed bodies (Content-Encoding) are not supported; send the body uncompressed"
        )
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        form = await multipart.read(content_type, chunks, max_files=max_images, known=known)
        if not form.files:
            raise InvalidImage(
                "the form has no image; send a file with a file name, as "
                "`curl -F image=@photo.jpg` does"
            )
        return Uploads(list(form.files), several=len(form.files) > 1, fields=tuple(form.fields))
    # Not a list of chunks, which takes many times the memory if a client sends byte by byte.
    body = bytearray()
    async for chunk in chunks:
        body += chunk
    if media_type == "application/json" or (media_type in _GUESSED_TYPES and looks_like_json(body)):
        # In a thread, because 20 MiB take a fifth of a second and would block the event loop.
        parsing = asyncio.to_thread(read_json, bytes(body), max_images=max_images)
        return await until(deadline, parsing)
    if not body:
        raise InvalidImage("the request has no body; send an image file")
    return Uploads([bytes(body)], several=False)


def looks_like_json(body: bytes | bytearray) -> bool:
    """Whether a body begins like a JSON object; no image file does."""
    return body[:100].removeprefix(BOM_UTF8).lstrip().startswith(b"{")


def from_json(body: bytes, *, max_images: int, known: Collection[str] | None = None) -> Uploads:
    """The images of a JSON body; `images` and `urls` are answered by a list also for one image.

    Where `known` is given, parameters with other names are ignored, whatever they contain.
    """
    given = parse_json(JsonImages, body, max_images=max_images)
    extra = given.model_extra or {}
    fields = tuple(
        _fields({name: v for name, v in extra.items() if known is None or name in known})
    )
    members = (given.image, given.images, given.url, given.urls)
    if sum(member is not None for member in members) != 1:
        raise InvalidParameter(
            "the JSON body must have either `image` or `images`, or one of `url` and `urls`"
        )
    if given.image is not None:
        return Uploads([single_file(given.image)], several=False, fields=fields)
    if given.url is not None:
        return Uploads([], several=False, fields=fields, urls=(given.url,))
    name, listed = ("images", given.images) if given.images is not None else ("urls", given.urls)
    assert listed is not None
    if len(listed) > max_images:
        raise PayloadTooLarge(f"the request has more than {counted(max_images, 'image')}")
    if not listed:
        raise InvalidParameter(f"`{name}` is empty")
    if name == "urls":
        return Uploads([], several=True, fields=fields, urls=tuple(listed))
    return Uploads([decode_base64(text) for text in listed], several=True, fields=fields)


def parse_json(kind: type[Body], body: bytes, *, max_images: int) -> Body:
    """A JSON body of at most so many images in base64, and of parameters.

    Raises InvalidParameter, also for a member that is given twice with different values, and
    PayloadTooLarge for more values than that.
    """
    # A parsed value takes up to 400 times its bytes, and 20 MiB of `1,` take minutes to reject.
    # Base64 has none of these characters, a data: URL one comma: a body with more has no images.
    if body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
        names = " or ".join(f"`{name}`" for name in kind.model_fields)
        raise InvalidParameter(f"the JSON body is nested; it must be {names} of texts")
    if body.count(b",") > 2 * max_images + MOST_BRACKETS + MOST_PARAMETERS:
        raise PayloadTooLarge(
            f"the JSON body has more values than {counted(max_images, 'image')} may need"
        )
    # A parser may ignore a byte order mark (RFC 8259, section 8.1).
    body = body.removeprefix(BOM_UTF8)
    try:
        given = kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:100] or "the JSON body"
        raise InvalidParameter(f"{where}: {words(first)}") from None
    refuse_repeated(body, len(given.model_fields_set))
    return given


def refuse_repeated(body: bytes, members: int) -> None:
    """Raise InvalidParameter if valid JSON gives a member of an object two different values.

    `members` of all objects were read. Few bodies have more, so few are parsed again. The search
    ends with the first one more, because a body may have millions of these characters.
    """
    if next(islice(_MEMBER.finditer(body), members, None), None) is not None:
        json.loads(body, object_pairs_hook=_once)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object. Raises InvalidParameter for two values of one."""
    values: dict[str, Any] = {}
    for name, value in members:
        before = values.setdefault(name, value)
        # In Python, True equals 1.
        if before != value or isinstance(before, bool) != isinstance(value, bool):
            raise InvalidParameter(
                f"{name[:100]}: is given twice, as {_shown(before)!r} and {_shown(value)!r}; "
                "give it once"
            )
    return values


def _shown(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:100]


def _fields(members: dict[str, object]) -> list[Field]:
    """JSON members as the text that a query would have; null means that a parameter is left out."""
    fields = []
    for name, value in members.items():
        match value:
            case None:
                continue
            case bool():
                fields.append((name, "true" if value else "false"))
            case str() | int() | float():
                fields.append((name, str(value)))
            case _:
                raise InvalidParameter(f"{name[:100]}: must be a single value")
    return fields


def single_file(text: str) -> bytes:
    """The file of a request that has one; raises InvalidImage."""
    file = decode_base64(text)
    if isinstance(file, RequestError):
        raise file
    return file


def decode_base64(text: str) -> bytes | RequestError:
    """The bytes of base64 text (RFC 4648), or of a `data:` URL of it; line breaks are ignored."""
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        # In one step, because a list of the pieces between blanks takes many times their bytes.
        return base64.b64decode(text.encode("ascii").translate(None, BLANKS), validate=True)
    except (binascii.Error, ValueError):
        return InvalidImage("the text is not base64")
