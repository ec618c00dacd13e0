"""Turns: at most so many may go at a time, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from detection.clock import Clock
from detection.errors import Timeout


@dataclass(eq=False, slots=True)
class Turn:
    """One turn, until it is passed on."""

    _turns: "Turns"
    _is_over: bool = False

    def pass_on(self) -> None:
        """Let the next one go, if not done before."""
        if not self._is_over:
            self._is_over = True
            self._turns._pass_on()


@dataclass(eq=False)
class Turns:
    """A semaphore with a deadline by the clock. It may be used in one event loop after another."""

    free: int
    clock: Clock
    _waiting: deque["asyncio.Future[None]"] = field(default_factory=deque, init=False)

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[Turn]:
        """Wait for a turn, and have it until the block ends or passes it on. Raises Timeout."""
        if self.free:
            self.free -= 1
        else:
            await self._wait(deadline)
        turn = Turn(self)
        try:
            yield turn
        finally:
            turn.pass_on()

    async def _wait(self, deadline: float) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def expire() -> None:
            if not mine.done():
                mine.set_exception(Timeout("the deadline of the request passed"))

        self._waiting.append(mine)
        expiry = self.clock.call_at(deadline, expire)
        try:
            await mine
        except asyncio.CancelledError:
            # Cancelled after the turn came, and before it was taken.
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._pass_on()
            raise
        finally:
            expiry.cancel()

    def _pass_on(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self.free += 1
