"""Limits how many messages of gRPC calls arrive at the same time, and shares these turns fairly."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from detection.errors import Overloaded

LONGEST_S = 5.0
"""How long a message may take to arrive while other calls wait for a turn."""


@dataclass(eq=False, slots=True)
class _Turn:
    peer: str
    given: asyncio.Future[None]
    since: float = 0.0
    """When it was given, by the event loop's clock."""
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    is_running: bool = False
    """Whether `limit` can be changed."""


class Turns:
    """Gives a number of turns; who waits longest is next, of the peers that have the fewest.

    So clients that open many calls and send nothing delay the others by LONGEST_S at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[_Turn] = []
        self._waiting: list[_Turn] = []

    @asynccontextmanager
    async def take(self, peer: str) -> AsyncIterator[None]:
        """A turn of a client for the block, which waits for its message.

        Raises Overloaded if the block takes longer than LONGEST_S and another call needs the turn.
        """
        turn = _Turn(peer, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._give()
        try:
            await turn.given
            async with turn.limit:
                turn.is_running = True
                self._set_limits()
                try:
                    yield
                finally:
                    turn.is_running = False
        except TimeoutError:
            if not turn.limit.expired():
                raise
            raise Overloaded(
                f"the message did not arrive within {LONGEST_S:g} s, and other calls wait; send "
                "it again"
            ) from None
        finally:
            (self._held if turn in self._held else self._waiting).remove(turn)
            self._give()

    def _give(self) -> None:
        """Give the free turns to those who wait, and limit the turns if some still wait."""
        now = asyncio.get_running_loop().time()
        while len(self._held) < self._count:
            held = Counter(turn.peer for turn in self._held)
            # A cancelled one removes itself when its task runs.
            waiting = [turn for turn in self._waiting if not turn.given.cancelled()]
            if not waiting:
                break
            turn = min(waiting, key=lambda each: held[each.peer])
            self._waiting.remove(turn)
            self._held.append(turn)
            turn.since = now
            turn.given.set_result(None)
        self._set_limits()

    def _set_limits(self) -> None:
        """Limit as many turns as others wait for: first those of the peers that have the most."""
        held = Counter(turn.peer for turn in self._held)
        ending = sum(turn.limit.expired() for turn in self._held)
        wanted = sum(not turn.given.cancelled() for turn in self._waiting) - ending
        running = [turn for turn in self._held if turn.is_running and not turn.limit.expired()]
        running.sort(key=lambda turn: (-held[turn.peer], turn.since))
        for number, turn in enumerate(running):
            turn.limit.reschedule(turn.since + LONGEST_S if number < wanted else None)
