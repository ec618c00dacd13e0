"""The progress of a command with known steps."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO


class Steps:
    """Shows the current step in one line on a terminal, and erases the line at the end.

    Prints nothing if stderr is not a terminal. Call it with the name of each step as it begins.
    """

    def __init__(self, names: Sequence[str], stream: TextIO | None = None) -> None:
        self._names = names
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()

    def __call__(self, step: str) -> None:
        """Show that `step` begins."""
        number = self._names.index(step) + 1
        self._print(f"[{number}/{len(self._names)}] {step}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._print("")

    def _print(self, text: str) -> None:
        if self._shown:
            # Go to the start of the line, write the text, erase the rest.
            self._stream.write(f"\r{text}\x1b[K")
            self._stream.flush()
