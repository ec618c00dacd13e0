"""The log of a run: a file of JSON lines, each of which is written at once."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sfd.errors import SfdError
from training import state
from training.state import TrainingError

LOG = "log.jsonl"


class Log:
    """The log in the folder of a run; an earlier one is continued."""

    def __init__(self, folder: Path) -> None:
        """Open it. Raises TrainingError if it can't be written."""
        self._folder = folder
        self._path = folder / LOG
        try:
            if self._path.is_file():
                _cut(self._path)
            # Without a buffer: what can't be written must not be tried again when it is closed.
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise self._failure(error) from error

    def write(
        self, entry: Mapping[str, Any], save: Callable[[], object] = lambda: None
    ) -> None:  # fmt: skip
        """Append a line. If that fails, call `save`, which saves the run, and raise TrainingError.

        The run may not be saved either: a full disk may be the reason.
        """
        line = memoryview(json.dumps(entry).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with suppress(SfdError):
                save()
            raise self._failure(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _failure(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"can't write {self._path}: {error.strerror}; repair this, then "
            f"{state.advice(self._folder)}"
        )


def _cut(path: Path) -> None:
    """Remove what follows the last complete line: a run may have stopped within a line."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
