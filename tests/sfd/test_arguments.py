"""Each kind of argument accepts its values and refuses others by name."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pytest

from sfd.arguments import (
    fraction,
    new_file,
    number,
    numbers,
    one_of,
    positive,
    share,
    size,
    threads,
    words,
)


class Colour(StrEnum):
    """Two values to choose from."""

    RED = "red"
    GREEN = "green"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (words, "face, hand", ("face", "hand")),
        (numbers, "104,117,123.5", (104.0, 117.0, 123.5)),
        (number, "1e-3", 0.001),
        (new_file, "new/out.onnx", Path("new/out.onnx")),
        (positive, "1", 1),
        (threads, "1024", 1024),
        (fraction, "0", 0.0),
        (fraction, "1", 1.0),
        (share, "0", 0.0),
        (size, "640", (640, 640)),
        (size, "480x640", (480, 640)),
        (size, "480X640", (480, 640)),
        (size, "16384x1", (16384, 1)),
    ],
)
def test_arguments_are_parsed(kind: Callable[[str], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (threads, "0"),
        (threads, "1025"),
        (words, "face,"),
        (words, ""),
        (numbers, "104;117;123"),
        (numbers, "104,,123"),
        (number, "one"),
        (new_file, "new/"),
        (new_file, "new/."),
        (positive, "0"),
        (positive, "1.5"),
        (fraction, "1.01"),
        (fraction, "nan"),
        (fraction, "half"),
        (share, "1"),
        (share, "-0.1"),
        (size, "0"),
        (size, "640x"),
        (size, "640x480x3"),
        (size, "16385"),
        (size, "wide"),
    ],
)
def test_invalid_arguments_are_refused_by_name(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError) as refusal:
        kind(text)
    assert repr(text) in str(refusal.value)


def test_a_choice_is_read_or_refused_with_all_values() -> None:
    assert one_of(Colour)("red") is Colour.RED
    with pytest.raises(ArgumentTypeError, match=r"^'blue' is not one of red, green$"):
        one_of(Colour)("blue")
    with pytest.raises(ArgumentTypeError, match=r"^'green' is not one of red$"):
        one_of([Colour.RED])("green")
