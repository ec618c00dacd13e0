"""Refuses options that would have no effect."""

import argparse
from collections.abc import Mapping

from sfd.errors import UsageError


def refuse(arguments: argparse.Namespace, defaults: Mapping[str, object], why: str) -> None:
    """Raise UsageError with the names of the options that are not at their defaults."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, default in defaults.items()
        if getattr(arguments, name) != default
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: {why}")
