"""Problems and warnings about a model's files, as data, and the error that lists them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sfd.errors import SfdError

MAX_SHOWN = 1000
"""More than the layers of the deepest networks that we know; a damaged file may have any number."""
MAX_LENGTH = 300


@dataclass(frozen=True)
class Diagnostic:
    """One problem or warning: what, where, and what to do about it."""

    message: str
    line: int | None = None
    """The line of the prototxt, 1-based; None if it is about the weights or the whole file."""
    column: int | None = None
    layer: str | None = None
    """Its name, which may be empty."""

    def __str__(self) -> str:
        place = [] if self.line is None else [f"line {self.line}"]
        if self.column is not None:
            place.append(f"column {self.column}")
        if self.layer:
            place.append(f"layer {self.layer}")
        return _printable(f"{', '.join(place)}: {self.message}" if place else self.message)


class CaffeError(SfdError):
    """A Caffe file that can't be used, with every problem found in it.

    The message is one line for one problem, else a line that counts them and one line for each of
    the first MAX_SHOWN.
    """

    def __init__(self, source: str, diagnostics: Sequence[Diagnostic]) -> None:
        texts = [str(diagnostic) for diagnostic in diagnostics[:MAX_SHOWN]]
        if len(diagnostics) > MAX_SHOWN:
            texts.append(f"and {len(diagnostics) - MAX_SHOWN} more")
        head = f"{source}: " if source else ""
        super().__init__(
            head + texts[0]
            if len(texts) == 1
            else "\n  ".join([f"{head}{len(diagnostics)} problems:", *texts])
        )
        self.source = source
        self.diagnostics = tuple(diagnostics)


def _printable(text: str) -> str:
    """The text on one line of limited length, because names come from files that may be damaged."""
    if len(text) > MAX_LENGTH:
        text = text[: MAX_LENGTH - 1] + "…"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
