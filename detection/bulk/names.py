"""The names of pictures: paths and URLs, which may hold bytes that are not UTF-8."""

import os
import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::.*://)")


def to_bytes(name: str) -> bytes:
    """A name as the bytes that the file system has."""
    return name.encode("utf-8", "surrogateescape")


def from_bytes(raw: bytes) -> str:
    """The reverse of `to_bytes`, for any bytes."""
    return raw.decode("utf-8", "surrogateescape")


def readable(name: str) -> str:
    r"""A name as valid text for a Parquet column: `\xff` stands for a byte that is not UTF-8."""
    return to_bytes(name).decode("utf-8", "backslashreplace")


def is_url(name: str) -> bool:
    """Whether a name is one for fsspec, such as s3://bucket/a.jpg or zip://a.jpg::b.zip."""
    return _URL.match(name) is not None


def protocols(name: str) -> list[str]:
    """The protocols of a URL: `zip` and `s3` of zip://a.jpg::s3://bucket/b.zip."""
    return [part.partition("://")[0] for part in name.split("::")] if is_url(name) else []


def beside(base: str, name: str) -> str:
    """A name as it is read: a relative path is relative to the folder `base`."""
    if is_url(name) or os.path.isabs(name):
        return name
    return f"{base}/{name}" if is_url(base) else os.path.join(base, name)
