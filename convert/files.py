"""Reads whole files up to a size limit, and checks the paths of files to write."""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convert.caffe.diagnostics import CaffeError, Diagnostic
from sfd.errors import UsageError
from sfd.files import WriteError, destination, open_regular

MAX_PROTOBUF = (1 << 31) - 1
"""A protobuf message can't be larger."""
_ONNX_FIELDS = frozenset([b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42"])
"""The tags of ModelProto that can follow its first, `ir_version`."""


def read_bytes(path: Path, limit: int, kind: str, error: type[CaffeError] = CaffeError) -> bytes:
    """The content of a file; `kind` is the expected kind, for messages.

    Raises `error` if it can't be read or has more than `limit` bytes.
    """
    with _reading(path, error):
        _check_size(path, limit, kind, error)
        with open_regular(path) as file:
            return file.read()


def map_bytes(path: Path, limit: int, kind: str) -> mmap.mmap:
    """The content of a file, like `read_bytes`, but mapped: only the pages in use take memory."""
    with _reading(path):
        _check_size(path, limit, kind)
        with open_regular(path) as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def check_source(path: Path) -> None:
    """Raise CaffeError with the file's name if it can't be opened."""
    with _reading(path), open_regular(path):
        pass


def other_kind(start: bytes) -> str:
    """For the start of a file that is no file of Caffe: what it is, and what to do. Or empty."""
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; run `git lfs pull`"
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        return "a compressed archive; unpack it first"
    # The version of the format, of at least 3, and another field of a model.
    if start[:1] == b"\x08" and b"\x03" <= start[1:2] < b"\x80" and start[2:3] in _ONNX_FIELDS:
        return "an ONNX file, not one of Caffe's; give the prototxt and the trained .caffemodel"
    return ""


@contextmanager
def _reading(path: Path, error: type[CaffeError] = CaffeError) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or "can't be read"
        raise error(str(path), [Diagnostic(f"can't read it: {reason}")]) from cause


def _check_size(path: Path, limit: int, kind: str, error: type[CaffeError] = CaffeError) -> None:
    if path.stat().st_size > limit:
        what = f"larger than {limit / 2**20:.0f} MiB, so not a {kind}"
        raise error(str(path), [Diagnostic(what)])


def check_output(path: Path, kind: str, sources: Sequence[Path]) -> Path:
    """Refuse an output path that can't be written, before any work is done. `kind` says what it is.

    Returns where the file will be: at the end of links.
    Raises UsageError for a folder and for one of the sources, WriteError if its folder is missing,
    and for a device or a pipe.
    """
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder: give the name of the {kind}")
    if os.path.realpath(path) in map(os.path.realpath, sources):
        raise UsageError(f"{path} is one of the sources: give another name to the {kind}")
    if not os.path.isdir(path.parent):
        raise WriteError(f"there is no folder {path.parent}: create it, or choose another")
    return destination(path)
