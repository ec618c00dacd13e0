"""The time by which the batcher works; a test has a clock of its own."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None:
        """Cancel the timer."""


class Clock(Protocol):
    """A monotonic time in seconds, and timers. asyncio's event loop is such a clock."""

    def time(self) -> float:
        """Seconds since some start."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call back at a time, or soon if it has passed."""

    def stopwatch(self) -> float:
        """Seconds for measuring, finer than `time`, which in uvloop counts milliseconds.

        Unlike the others, it may be called from any thread.
        """


class LoopClock:
    """The clock of the running event loop."""

    def time(self) -> float:
        """Seconds since some start."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call back at a time."""
        return asyncio.get_running_loop().call_at(when, callback)

    def stopwatch(self) -> float:
        """Seconds for measuring."""
        return time.perf_counter()
