"""Writes files completely or not at all."""

import os
import tempfile
from pathlib import Path

from sfd.errors import SfdError


class WriteError(SfdError):
    """A file cannot be written; an old file stays as it was."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file next to `path` and rename it, so no reader sees half a file.

    Raises WriteError if it cannot be written.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            # With mkstemp's 0600, a service that runs as another user could not read it.
            os.fchmod(file.fileno(), 0o644)
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
