"""Names with commas between, as an argument of a command."""

import argparse


def words(text: str) -> tuple[str, ...]:
    """The names without the spaces around them; none may be empty."""
    found = tuple(word.strip() for word in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name")
    return found
