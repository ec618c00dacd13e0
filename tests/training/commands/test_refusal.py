"""Options without effect are refused by name."""

import argparse

import pytest

from sfd.errors import UsageError
from training.commands.refusal import refuse


def test_given_options_are_named_as_on_the_command_line() -> None:
    arguments = argparse.Namespace(held_out=0.5, rate=None, set=["a=1"])
    with pytest.raises(UsageError, match=r"^--held-out, --set: only with --teacher$"):
        refuse(arguments, {"held_out": None, "rate": None, "set": []}, "only with --teacher")


def test_options_at_their_defaults_pass() -> None:
    refuse(argparse.Namespace(rate=None), {"rate": None}, "only with --teacher")
