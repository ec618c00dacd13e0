"""The dynamic batcher: joins single items into batches, and answers each item once.

    reserve --------> submit --------> dispatch --------> answer
    a place in the    the item is      up to max_batch    a result, or what
    queue is taken    ready, waits     to an idle worker  went wrong, once

A batch is sent as soon as a worker is idle and one of these is true: it is full; its oldest item
has waited `max_wait` seconds; or no further item is being prepared. There is no background task.
Each event (an item, a freed worker, a released place, a timer of the clock) runs the same decision,
so tests can use a clock of their own.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from detection.errors import InferenceFailed, Overloaded, Timeout

LEARNING_RATE = 0.1
"""Weight of a batch's cost in the estimate of an item's cost."""

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        """Seconds for measuring, finer than `time`, which in uvloop counts milliseconds."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """The result of one item, with its batch size and times in seconds."""

    result: Result
    queued: float
    inference: float
    batch_size: int


@dataclass(eq=False, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Answer[Result]]
    submitted: float
    """By the clock's `time`."""
    started: float
    """By its stopwatch."""
    deadline: float
    expiry: Handle | None = None


@dataclass(eq=False)
class Reservation(Generic[Item, Result]):
    """Places in the queue for the items of one request; see `Batcher.reserve`."""

    _batcher: "Batcher[Item, Result]"
    _unused: int
    _later: int
    """The number of unused places whose item is not being prepared yet."""

    def begin(self) -> None:
        """Start to prepare an item of a reservation that was not made `at_once`."""
        self._later -= 1
        self._batcher._postpone(-1)

    async def submit(self, item: Item, deadline: float) -> Answer[Result]:
        """Use one place: wait for the item's answer until the clock's time `deadline`.

        Raises Timeout, InferenceFailed, or whatever RequestError the model raised for this item.
        When the waiting task is cancelled, the item is dropped before inference.
        """
        if not self._unused:
            raise ValueError("all places of this reservation are used")
        self._unused -= 1
        return await self._batcher._enqueue(item, deadline)

    def extend(self, places: int) -> None:
        """Take more places, for an item that became several. All or none; else Overloaded.

        This also works while draining, because the request was accepted.
        """
        self._batcher._check_depth(places)
        self._unused += places
        self._batcher._expect(places)

    def give_up(self) -> None:
        """Give one place back, because its item will not come."""
        if self._unused:
            self._unused -= 1
            self._batcher._expect(-1)


@dataclass(eq=False)
class Batcher(Generic[Item, Result]):
    """Joins items into batches for `workers` concurrent calls of `infer`.

    `infer` takes 1 to `max_batch` items and returns as many results. If it raises for several,
    each is tried again alone, so that one poisonous item fails by itself.
    """

    infer: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
    clock: Clock
    max_batch: int = 8
    max_wait: float = 0.005
    queue_limit: int = 128
    workers: int = 1
    target_wait: float = math.inf
    """The longest predicted wait with which an item is accepted, in seconds."""
    image_seconds: float = 0.0
    """The cost of an item in seconds of all workers together: first a guess, then measured."""
    on_batch: Callable[[int], None] = lambda size: None
    """Called with the size of each batch."""
    on_failure: Callable[[Exception], None] = lambda error: None
    """Called with each exception of `infer`; the items get an InferenceFailed without its text."""

    _queue: deque[_Entry[Item, Result]] = field(default_factory=deque, init=False)
    _coming: int = field(default=0, init=False)
    _later: int = field(default=0, init=False)
    _inferring: int = field(default=0, init=False)
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _timer: Handle | None = field(default=None, init=False)
    _draining: bool = field(default=False, init=False)
    _drained: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def depth(self) -> int:
        """Accepted items that are not yet in inference, including those being prepared."""
        return self._coming + len(self._queue)

    @property
    def wait(self) -> float:
        """The predicted wait for inference of an item accepted now, in seconds."""
        return (self.depth + self._inferring) * self.image_seconds

    def check_room(self, places: int = 1, deadline: float = math.inf) -> None:
        """Raise Overloaded if `reserve(places, deadline=deadline)` would now.

        An idle batcher accepts whatever fits the queue, whatever the prediction.
        """
        if self._draining:
            raise Overloaded("the service is shutting down")
        self._check_depth(places)
        if not (self.depth or self._inferring):
            # Only another batch can correct a prediction that one stalled batch has spoilt.
            return
        wait = self.wait
        if wait > self.target_wait:
            raise Overloaded(
                f"the wait would be {wait:.1f} s, longer than the {self.target_wait:g} s allowed",
                retry_after_s=max(1, math.ceil(wait - self.target_wait)),
            )
        if deadline == math.inf:
            return
        if self.clock.time() + wait + places * self.image_seconds > deadline:
            raise Overloaded(
                f"the wait would be {wait:.1f} s, longer than the deadline of the request allows",
                retry_after_s=max(1, math.ceil(wait)),
            )

    @contextmanager
    def reserve(
        self, places: int, *, at_once: bool = True, deadline: float = math.inf
    ) -> Iterator[Reservation[Item, Result]]:
        """Take places for items that are being prepared; unused places are released at the end.

        Without `at_once`, each item is prepared only after its `begin`; until then no batch waits
        for it. All or none: raises Overloaded when they do not fit, when they would wait too long
        or miss the clock's time `deadline`, or after `drain`.
        """
        self.check_room(places, deadline)
        reservation = Reservation(self, places, 0 if at_once else places)
        self._postpone(reservation._later)
        self._expect(places)
        try:
            yield reservation
        finally:
            self._postpone(-reservation._later)
            self._expect(-reservation._unused)
            reservation._unused = reservation._later = 0

    def _check_depth(self, places: int) -> None:
        if self.depth + places > self.queue_limit:
            raise Overloaded(f"the queue of {self.queue_limit} images is full")

    async def drain(self) -> None:
        """Accept no more items, and return when every accepted item has its answer."""
        self._draining = True
        self._decide()
        await self._drained.wait()

    def _expect(self, change: int) -> None:
        self._coming += change
        self._decide()

    def _postpone(self, change: int) -> None:
        self._later += change

    async def _enqueue(self, item: Item, deadline: float) -> Answer[Result]:
        future: asyncio.Future[Answer[Result]] = asyncio.get_running_loop().create_future()
        entry = _Entry(item, future, self.clock.time(), self.clock.stopwatch(), deadline)
        entry.expiry = self.clock.call_at(deadline, lambda: self._expire(entry))
        self._queue.append(entry)
        self._expect(-1)
        try:
            return await future
        finally:
            entry.expiry.cancel()
            # Cancelled while waiting: dropped now, so that its place is free at once.
            if future.cancelled() and entry in self._queue:
                self._queue.remove(entry)
                self._decide()

    def _expire(self, entry: _Entry[Item, Result]) -> None:
        """Answer an item whose deadline has passed; nobody waits for it any more."""
        if not entry.future.done():
            entry.future.set_exception(Timeout("the deadline of the request passed"))
        if entry in self._queue:
            self._queue.remove(entry)
            self._decide()

    def _decide(self) -> None:
        """Send the batches that are due, and set a timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue and len(self._running) < self.workers:
            leaves_at = self._queue[0].submitted + self.max_wait
            full = len(self._queue) >= self.max_batch
            if not (full or self._coming <= self._later or self.clock.time() >= leaves_at):
                self._timer = self.clock.call_at(leaves_at, self._decide)
                break
            self._send()
        if self._draining and not (self._queue or self._running or self._coming):
            self._drained.set()

    def _send(self) -> None:
        now = self.clock.time()
        batch: list[_Entry[Item, Result]] = []
        while self._queue and len(batch) < self.max_batch:
            entry = self._queue.popleft()
            if entry.deadline <= now:
                self._expire(entry)
            elif not entry.future.done():
                batch.append(entry)
        if batch:
            task = asyncio.get_running_loop().create_task(self._work(batch))
            self._running.add(task)
            task.add_done_callback(self._worker_idle)

    def _learn(self, seconds: float) -> None:
        """Update the estimate with the latest cost: mostly the last ten batches count."""
        old = self.image_seconds
        self.image_seconds = seconds if old == 0 else old + LEARNING_RATE * (seconds - old)

    def _worker_idle(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._decide()

    async def _work(self, batch: list[_Entry[Item, Result]]) -> None:
        """Run one batch, and answer each of its items, even if inference fails."""
        try:
            if await self._infer(batch) is None or len(batch) == 1:
                return
            for entry in batch:
                # The client may have gone, or the deadline passed, while the other items were
                # tried.
                if not entry.future.done():
                    await self._infer([entry])
        finally:
            _fail(batch, InferenceFailed("the inference was interrupted"))

    async def _infer(self, batch: list[_Entry[Item, Result]]) -> Exception | None:
        """Infer a batch and answer its items.

        Returns an error, if any. Only a single item gets the error as its answer.
        """
        self.on_batch(len(batch))
        started = self.clock.stopwatch()
        self._inferring += len(batch)
        try:
            results = await self.infer([entry.item for entry in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for a batch of {len(batch)}")
        except Exception as error:
            # The model and its runtime may raise anything; the items must get their answer.
            self.on_failure(error)
            if len(batch) == 1:
                _fail(batch, InferenceFailed("the model failed on this image"))
            return error
        finally:
            self._inferring -= len(batch)
        inference = self.clock.stopwatch() - started
        self._learn(inference / len(batch) / self.workers)
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                queued = started - entry.started
                entry.future.set_result(Answer(result, queued, inference, len(batch)))
        return None


def _fail(batch: Sequence[_Entry[Item, Result]], error: Exception) -> None:
    for entry in batch:
        if not entry.future.done():
            entry.future.set_exception(error)
