"""Finds the pictures of a job: below a folder, in a list of names, or in a Parquet table."""

import glob
import os
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fsspec import get_filesystem_class
from fsspec.implementations.local import LocalFileSystem

from detection.bulk import tables
from detection.bulk.errors import BulkError
from detection.bulk.names import (
    absolute,
    archive_of,
    beside,
    file_system,
    from_bytes,
    is_url,
    parent,
    protocols,
)
from detection.bulk.plan import Kind
from detection.bulk.reading import reason
from detection.sources import ENDINGS
from sfd.errors import SfdError, UsageError
from sfd.files import may_be_file

TABLE = ".parquet"
LONGEST_NAME = 65_536
"""The longest line of a list, in bytes: a file with longer ones is no list."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pictures are."""

    kind: Kind
    name: str
    """An absolute path, or a URL."""
    base: str
    """The folder to which the names in a list or a table are relative."""
    column: str | None = None
    key: str | None = None
    files: tuple[str, ...] = ()
    """The files of a table, each an absolute path or a URL."""


def find(name: str, column: str | None, key: str | None, out: str | None = None) -> Source:
    """What the argument SOURCE means. Raises UsageError if it is nothing of this kind.

    Tables below `out`, the folder for the results, are not part of a source that has others too.
    """
    where = absolute(name)
    try:
        fs, path = file_system(where)
        if column is not None:
            files = tuple(_table_files(fs, path, where, out))
            kind = tables.kind_of(files, column, key)
            base = where.rstrip("/") if fs.isdir(path) else _fixed(parent(where), fs)
            return Source(kind, where, base, column, key, files)
        if fs.isdir(path):
            return Source("folder", where.rstrip("/") or "/", where)
        there = fs.exists(path)
    except SfdError:
        raise
    except Exception as error:
        # Each file system has exceptions of its own.
        raise UsageError(f"--bulk {name}: {reason(error)}") from None
    file = where.removesuffix(archive_of(where))
    if file.endswith(TABLE):
        raise UsageError(f"--bulk {name}: is a table; name its column with --column NAME")
    if not there:
        raise UsageError(f"--bulk {name}: there is no such folder, list or table")
    if os.path.splitext(file)[1].lower() in ENDINGS:
        # Without --bulk, only paths are read.
        instead = "name it in a list" if is_url(where) else "leave --bulk out"
        raise UsageError(f"--bulk {name}: is one picture; {instead}")
    return Source("list", where, parent(where))


def _fixed(folder: str, fs: Any) -> str:
    """The folder itself, or of a pattern of folders the part before the first wildcard."""
    while glob.has_magic(folder) and not fs.exists(folder):
        folder = parent(folder)
    return folder


def names(source: Source) -> Iterator[str]:
    """The names of all pictures of a source that is not a table of bytes, in any order.

    Raises BulkError if the source can't be read, and UsageError if a name needs a package that is
    missing.
    """
    if source.kind == "folder":
        return _in_folder(source.name)
    found = tables.names(source.files, source.column or "") if source.files else _lines(source.name)
    return _readable(found, source.base)


def _table_files(fs: Any, path: str, name: str, out: str | None) -> list[str]:
    if fs.isdir(path):
        found = fs.glob(f"{glob.escape(path)}/**/*{TABLE}")
    elif glob.has_magic(path) and not fs.exists(path):
        found = fs.glob(path)
    else:
        found = [path] if fs.exists(path) else []
    if out is not None and found != [path]:
        results = _resolved(*file_system(out)).rstrip("/") + "/"
        found = [file for file in found if not _resolved(fs, file).startswith(results)]
    files = [file for file in sorted(found) if fs.isfile(file)]
    if not files:
        raise UsageError(f"--bulk {name}: there is no Parquet file")
    if not is_url(name):
        return files
    return [fs.unstrip_protocol(file) + archive_of(name) for file in files]


def _resolved(fs: Any, path: str) -> str:
    """A path that can be compared with others: without links, or with its protocol."""
    return os.path.realpath(path) if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)


def _in_folder(name: str) -> Iterator[str]:
    """Every file with the ending of a picture, below a folder."""

    def fail(error: OSError) -> None:
        raise BulkError(f"{error.filename or name}: cannot be listed: {reason(error)}")

    if not is_url(name):
        for folder, _, files in os.walk(name, onerror=fail):
            yield from (
                path
                for file in files
                if os.path.splitext(file)[1].lower() in ENDINGS
                and may_be_file(path := os.path.join(folder, file))
            )
        return
    fs, root = file_system(name)
    try:
        for folder, _, files in fs.walk(root, on_error="raise"):
            for file in files:
                if os.path.splitext(file)[1].lower() in ENDINGS:
                    path = f"{folder.rstrip('/')}/{file}"
                    yield fs.unstrip_protocol(path) + archive_of(name)
    except Exception as error:
        # Each file system has exceptions of its own.
        raise BulkError(f"{name}: cannot be listed: {reason(error)}") from error


def _lines(name: str) -> Iterator[str]:
    """The lines of a list that are not empty."""
    fs, path = file_system(name)
    try:
        with fs.open(path, "rb") as file:
            number = 0
            while line := file.readline(LONGEST_NAME):
                number += 1
                # Some editors begin a text file with a byte order mark.
                text = (line.removeprefix(BOM_UTF8) if number == 1 else line).rstrip(b"\r\n")
                if b"\0" in text or len(line) == LONGEST_NAME:
                    raise UsageError(f"--bulk {name}: line {number} is no path; is it a list?")
                if text:
                    yield from_bytes(text)
    except SfdError:
        raise
    except Exception as error:
        raise BulkError(f"{name}: cannot be read: {reason(error)}") from error


def _readable(found: Iterator[str], base: str) -> Iterator[str]:
    """The same names, once it is certain that their protocols can be read."""
    known: set[str] = set()
    for name in found:
        for protocol in protocols(beside(base, name)):
            if protocol not in known:
                try:
                    get_filesystem_class(protocol)
                except (ImportError, ValueError) as error:
                    raise UsageError(f"{name}: {reason(error)}") from None
                known.add(protocol)
        yield name
