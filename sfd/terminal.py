"""Shows text on a terminal without escape characters.

In the name of a file they can rewrite lines, set the title of the window, and more.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


def printable(text: object) -> str:
    """Text with all control characters escaped, as in Python's literals, also line ends and tabs.

    Bytes that are not UTF-8, which names on Linux may have, stay as they are.
    """
    return "".join(c if c.isprintable() or c in _BYTES else _escaped(c) for c in str(text))


def say(text: object, *, error: bool = False) -> None:
    """Print text of one or more lines on stdout, or on stderr, without other control characters."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in str(text))
    print(shown, file=sys.stderr if error else sys.stdout, flush=True)


def is_utf8(text: object) -> bool:
    """Whether a name or an argument is text: those on Linux may have any bytes."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def counted(count: int, noun: str) -> str:
    """A number of things whose plural ends in -s: `1 picture`, `2 pictures`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_BYTES = frozenset(map(chr, range(0xDC80, 0xDD00)))
"""How Python holds bytes that are not UTF-8 (PEP 383)."""


def _escaped(character: str) -> str:
    return repr(character)[1:-1]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints show arguments without control characters."""

    more_help: Callable[[], str] | None = None
    """Makes text that the help shows after the description. Other runs don't wait for it."""

    def format_help(self) -> str:
        """The help of this parser."""
        if self.more_help is not None:
            self.description = f"{self.description or ''}{self.more_help()}"
            self.more_help = None
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Print the usage and a complaint, and exit with 2."""
        super().error(printable(message))
