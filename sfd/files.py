"""Writes files completely or not at all."""

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from sfd.errors import SfdError

_NO_FILE = "it is a device or a pipe, not a file"


class WriteError(SfdError):
    """A file can't be written. An existing file is unchanged."""


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a temporary file and rename it to `path`, so that no reader ever sees half a file.

    Content that is too large for memory may come in parts. Raises WriteError if it can't be
    written.
    """
    path = destination(path)
    with temporary_beside(path) as temporary:
        with temporary.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            sync(file)
        put(temporary, path)


def destination(path: Path) -> Path:
    """Where the file is that a write to `path` replaces: at the end of links.

    Raises WriteError for a device such as /dev/null or a pipe, which the rename would replace; for
    the file that this process prints to, such as /dev/stdout in `>> build.log`, because later
    output would be lost; and for a name that no file can have.
    """
    end = os.path.realpath(path)
    try:
        found = os.stat(end)
    except FileNotFoundError:
        return Path(end)
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        what = "it is a folder" if stat.S_ISDIR(found.st_mode) else _NO_FILE
        raise WriteError(f"can't write {path}: {what}")
    for descriptor, name in ((1, "standard output"), (2, "standard error")):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                raise WriteError(f"can't write {path}: {name} goes there; name another file")
    return Path(end)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """The name of an empty file in the folder of `path`, which is removed at the end.

    Raises WriteError for an OSError: if the folder can't be written, or from the body.
    """
    temporary: Path | None = None
    try:
        file, temporary = create_beside(path)
        file.close()
        yield temporary
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def scratch(purpose: str) -> "tempfile.TemporaryDirectory[str]":
    """A temporary folder, which is removed at the end of the `with` block.

    `purpose` is part of its name. Raises WriteError if it can't be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"sfd-{purpose}-")
    except OSError as error:
        raise WriteError(
            f"can't make a temporary folder ({error.strerror}): set TMPDIR to a folder that can be "
            "written"
        ) from error


def create_beside(path: Path, name: str | None = None) -> tuple[BinaryIO, Path]:
    """A new file under a temporary name, which starts with `name`, in the folder of `path`.

    Its mode is that of any new file, by the umask and the folder. If there is a file at `path`
    already, which may be private, only its owner can read it until `put`.
    """
    # Not the whole name: with more it could become too long (NAME_MAX, 255 bytes).
    temporary = path.with_name(f".{(name or path.name)[:50]}.{secrets.token_hex(8)}.tmp")
    mode = 0o600 if path.exists() else 0o666
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    return os.fdopen(handle, "wb"), temporary


def sync(file: BinaryIO) -> None:
    """Write a file through to the disk."""
    file.flush()
    os.fsync(file.fileno())


def put(temporary: Path, path: Path) -> None:
    """Rename a finished file to `path`. The mode of a file that it replaces stays."""
    with suppress(FileNotFoundError):
        temporary.chmod(path.stat().st_mode & 0o777)
    temporary.replace(path)


def open_regular(path: Path) -> BufferedReader:
    """A file opened for reading. Raises OSError also for what is no regular file.

    A device can be endless, and a pipe waits for someone who writes into it.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, _NO_FILE, str(path))
    return os.fdopen(descriptor, "rb")


def may_be_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a regular file, or may be one in a folder that can't be searched.

    Whoever reads such a file gets the reason. Without it, the file would be left out in silence.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        # In large parts: between two, a busy thread may keep the interpreter for 5 ms.
        while part := file.read(2**24):
            digest.update(part)
    return digest.hexdigest()
