"""Parses command-line arguments: text to numbers, sizes and names, or a clear error."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import TypeVar

MOST_THREADS = 1024
"""Far more than any library here uses well. With many more, PyTorch crashes."""
Choice = TypeVar("Choice", bound=Enum)

_GREATEST_SIDE = 16_384
"""The same limit as in `convert.conversion`. An input of this size takes 3 GB as float32."""


def words(text: str) -> tuple[str, ...]:
    """Comma-separated names, without surrounding spaces; none may be empty."""
    found = tuple(word.strip() for word in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty name")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Comma-separated numbers."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not numbers like 104,117,123") from None


def number(text: str) -> float:
    """Any number that float() reads. The command decides whether infinity and NaN make sense."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def one_of(choices: Iterable[Choice]) -> Callable[[str], Choice]:
    """A function that reads one of these members of an enumeration by its value."""
    known = {str(each.value): each for each in choices}

    def read(text: str) -> Choice:
        if text not in known:
            raise ArgumentTypeError(f"{text!r} is not one of {', '.join(known)}")
        return known[text]

    return read


def new_file(text: str) -> Path:
    """The path of a file to write. A path drops a slash at the end, which means a folder."""
    if text.endswith(("/", "/.")):
        raise ArgumentTypeError(f"{text!r} is a folder: give the name of a file")
    return Path(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def threads(text: str) -> int:
    """A number of threads."""
    value = positive(text)
    if value > MOST_THREADS:
        raise ArgumentTypeError(f"{text!r} is above {MOST_THREADS}")
    return value


def nonnegative(text: str) -> float:
    """A finite number of at least 0."""
    value = number(text)
    if not 0 <= value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, without 1."""
    value = number(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 0 and below 1")
    return value


def size(text: str) -> tuple[int, int]:
    """Height and width in pixels, from `N` or `HxW`."""
    height, separator, width = text.lower().partition("x")
    try:
        found = int(height), int(width if separator else height)
    except ValueError:
        found = (0, 0)
    if not 1 <= min(found) <= max(found) <= _GREATEST_SIDE:
        raise ArgumentTypeError(
            f"{text!r} is neither N nor HEIGHTxWIDTH, in pixels from 1 to {_GREATEST_SIDE}"
        )
    return found
