"""Shows the progress of a command whose steps are known."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO


class Steps:
    """Shows the current step in one line of the terminal, which is erased at the end.

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

    def clear(self) -> None:
        """Erase the line: something else is going to be shown, such as a progress bar."""
        self._print("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def _print(self, text: str) -> None:
        if self._shown:
            # Return to the start of the line, print the text, and erase the rest.
            self._stream.write(f"\r{text}\x1b[K")
            self._stream.flush()
