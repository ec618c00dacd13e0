"""A share of photographs or scenes, as an argument of a command."""

import argparse


def share(text: str) -> float:
    """A number from 0 to below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("needs a share from 0 to below 1")
    return value
