"""What the arguments of commands mean: text to numbers, sizes and names, or a clear refusal."""

from argparse import ArgumentTypeError

_GREATEST_SIDE = 16_384
"""As of `convert.conversion`; an input of this size alone is 3 GB of float32."""


def words(text: str) -> tuple[str, ...]:
    """Names with commas between, without the spaces around them; none may be empty."""
    found = tuple(word.strip() for word in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty name")
    return found


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not numbers like 104,117,123") from None


def number(text: str) -> float:
    """Any that float() reads: whether infinite or NaN make sense is for the command to say."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def positive(text: str) -> int:
    """A whole number from 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return value


def nonnegative(text: str) -> float:
    """A number from 0, not infinite."""
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
    """A number from 0 to below 1."""
    value = number(text)
    if not 0 <= value < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return value


def size(text: str) -> tuple[int, int]:
    """Height and width in pixels, of `N` or `HxW`."""
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
