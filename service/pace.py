"""The pace of refusals, so that accepted requests keep the processor."""

import asyncio
import time
from collections.abc import Callable

PER_SECOND = 50.0
"""The most refusals in a second that are sent at once."""
MOST_S = 0.5
"""The longest delay, and how far a burst may run ahead of the pace, in seconds."""

MOST = 64
"""The most refusals that wait at a time; others are sent at once. Each holds a connection, or a
call over gRPC."""


class Pace:
    """Delays refusals that come faster than PER_SECOND, each by at most MOST_S.

    Some clients repeat a refused request at once. Each refusal costs milliseconds of CPU time, so
    a few such clients would take half of it. They repeat no faster than they are refused. The rule
    is the generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() - MOST_S
        self._waiting = 0

    async def wait(self) -> None:
        """Wait until the next refusal may be sent."""
        delay = self.delay()
        if delay == 0 or self._waiting >= MOST:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._waiting -= 1

    def delay(self) -> float:
        """The seconds to wait before the next refusal is sent."""
        now = self._clock()
        self._next = min(max(self._next, now - MOST_S) + 1 / PER_SECOND, now + MOST_S)
        return max(self._next - now, 0.0)
