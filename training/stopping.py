"""Stops a long run on SIGINT or SIGTERM, after it has saved its state."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether a signal has asked the run to stop."""

    asked: bool = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """Record SIGINT and SIGTERM instead of ending at once."""
    stop = Stop()

    def note(_: int, __: FrameType | None) -> None:
        stop.asked = True

    before = {name: signal.signal(name, note) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
