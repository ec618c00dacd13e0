"""The names of pictures: paths and URLs, which may hold bytes that are not UTF-8."""

import os
import re
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::.*://)")

_PROTOCOL = re.compile(r"[a-z]+")
"""What fsspec takes for a protocol where a part of a URL has no ://."""


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
    """The protocols of a URL: `zip` and `s3` of zip://a.jpg::s3://bucket/b.zip.

    A part of other characters than a protocol's is a path, as in zip://a.jpg::b.zip.
    """
    if not is_url(name):
        return []
    parts = (part.partition("://") for part in name.split("::"))
    return [first for first, separator, _ in parts if separator or _PROTOCOL.fullmatch(first)]


def absolute(name: str) -> str:
    """A path, or the path of the archive in a URL, as an absolute one."""
    return beside(os.getcwd(), name) if is_url(name) else os.path.abspath(name)


def archive_of(name: str) -> str:
    """What follows a path in an archive: `::b.zip` of zip://a.jpg::b.zip; else nothing."""
    inside, separator, archive = name.partition("::")
    return separator + archive if is_url(inside) else ""


def parent(name: str) -> str:
    """The folder of a file. In an archive, it is a folder of the archive."""
    archive = archive_of(name)
    folder, slash, _ = name.removesuffix(archive).rpartition("/")
    # Of /list.txt and zip://list.txt, the slash is a part of the folder.
    return folder + (slash if not folder or folder.endswith(":/") else "") + archive


def file_system(name: str) -> tuple[Any, str]:
    """What reads a path or a URL, and the path in it. Raises what fsspec raises.

    fsspec would read a path with :: as a URL.
    """
    return url_to_fs(name) if is_url(name) else (LocalFileSystem(), os.path.abspath(name))


def beside(base: str, name: str) -> str:
    """A name as it is read: a relative path is relative to the folder `base`.

    So is the path of an archive, if both are local: b.zip of zip://a.jpg::b.zip.
    """
    if is_url(name):
        inside, separator, archive = name.rpartition("::")
        is_path = separator and "://" not in archive and not _PROTOCOL.fullmatch(archive)
        return f"{inside}::{beside(base, archive)}" if is_path and not is_url(base) else name
    if os.path.isabs(name):
        return name
    if not is_url(base):
        return os.path.join(base, name)
    archive = archive_of(base)
    return f"{base.removesuffix(archive)}/{name}{archive}"
