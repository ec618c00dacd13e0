"""Reads one picture file, from a path or by fsspec from a URL, up to a number of bytes."""

import os
import stat
import threading
import time
from typing import Any

from fsspec.core import url_to_fs

from detection.bulk.errors import BulkError
from detection.bulk.names import archive_of, is_url
from detection.errors import RequestError
from detection.sources import UnreadableFile, too_large

ATTEMPTS = 3
"""How often a URL is tried: a network may fail for a moment."""
PAUSE_S = 0.5
"""The pause after the first failure; it doubles after each."""
_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def read(name: str, most: int) -> bytes | RequestError:
    """The bytes of a file, at most `most` of them, or why it can't be read.

    Raises BulkError if the package that reads this kind of URL is missing.
    """
    return _read_url(name, most) if is_url(name) else _read_file(name, most)


def _read_file(path: str, most: int) -> bytes | RequestError:
    try:
        with open(path, "rb", opener=_open) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return UnreadableFile("cannot be read: is not a regular file")
            if found.st_size > most:
                return too_large(most)
            # It may have grown since.
            data = file.read(most + 1)
    except OSError as error:
        return UnreadableFile(f"cannot be read: {error.strerror or error}")
    except ValueError as error:  # a path with a zero byte
        return UnreadableFile(f"cannot be read: {error}")
    return too_large(most) if len(data) > most else data


def _open(path: str, flags: int) -> int:
    """Open a file. A named pipe without a writer must not block for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


class _Archive(threading.local):
    """The archive that a thread has open: to open one, its whole list of files is read."""

    name = ""
    fs: Any = None


_archive = _Archive()


def _file_system(url: str) -> tuple[Any, str]:
    """What reads a URL, and the path in it."""
    archive = archive_of(url)
    name = url.partition("://")[0] + archive
    if archive and _archive.name == name:
        return _archive.fs, _archive.fs._strip_protocol(url.removesuffix(archive))
    fs, path = url_to_fs(url)
    if archive:
        _archive.name, _archive.fs = name, fs
    return fs, path


def _read_url(url: str, most: int) -> bytes | RequestError:
    failure: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            fs, path = _file_system(url)
            data = bytes(fs.cat_file(path, start=0, end=most + 1))
        except ImportError as error:
            raise BulkError(f"{url}: {error}") from None
        except Exception as error:
            # Each file system has exceptions of its own.
            failure = error
            if isinstance(error, _FINAL):
                break
            # It may be what is broken, as after a network's failure.
            _archive.name = ""
        else:
            return too_large(most) if len(data) > most else data
    return UnreadableFile(f"cannot be read: {reason(failure)}")


def reason(error: Exception | None) -> str:
    """An exception in one line."""
    known: dict[type[object], str] = {
        FileNotFoundError: "No such file or directory",
        IsADirectoryError: "Is a directory",
        PermissionError: "Permission denied",
    }
    text = getattr(error, "strerror", None) or known.get(type(error), str(error))
    return " ".join(str(text).split())[:300] or type(error).__name__
