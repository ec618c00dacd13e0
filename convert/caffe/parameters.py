"""Checks that hold for the parameters of every layer, whatever its type."""

import math
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_FLOATS = frozenset([FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE])


_BOUNDS = frozenset(["clip_param.min", "clip_param.max"])
"""Numbers that may be infinite, where nothing is cut off."""


def not_finite(message: Message) -> Iterator[tuple[str, float]]:
    """The path and value of each number in a message, and in those within, that isn't finite.

    The bounds of a Clip layer may be infinite. Weights are left out: reading them has a check of
    its own.
    """
    for path, number in _not_finite(message):
        if path not in _BOUNDS or math.isnan(number):
            yield path, number


def _not_finite(message: Message) -> Iterator[tuple[str, float]]:
    for field, value in message.ListFields():
        if field.name == "blobs":
            continue
        items = value if field.is_repeated else [value]
        for item in items:
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                for path, number in _not_finite(item):
                    yield f"{field.name}.{path}", number
            elif field.cpp_type in _FLOATS and not math.isfinite(item):
                yield field.name, item
