"""What Pydantic says about wrong values, in words for people."""

from collections.abc import Mapping
from typing import Any


def words(error: Mapping[str, Any]) -> str:
    """The message of one error, without what Pydantic puts before those of our own validators."""
    return str(error["msg"]).removeprefix("Value error, ")
