"""Options without effect are refused, so that nobody believes in them."""

import argparse
from collections.abc import Mapping

from sfd.errors import UsageError


def refuse(arguments: argparse.Namespace, defaults: Mapping[str, object], why: str) -> None:
    """UsageError that names those of the options that are not at their defaults."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, default in defaults.items()
        if getattr(arguments, name) != default
    ]
    if given:
        raise UsageError(f"{', '.join(given)}: {why}")
