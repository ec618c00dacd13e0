"""Signals that ask a long run to save its state and stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether somebody asked."""

    asked: bool = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Notes SIGINT and SIGTERM instead of dying of them."""
    stop = Stop()

    def note(_: int, __: FrameType | None) -> None:
        stop.asked = True

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
