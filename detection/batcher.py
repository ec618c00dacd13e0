"""The dynamic batcher: joins single items into batches, and answers each item once.

    reserve --------> submit --------> take ------------> answer
    a place in the    the item is      a worker gets up   a result, or what
    queue is taken    ready, waits     to max_batch       went wrong, once

A batch is due when one of these is true: it is full; its oldest item has waited `max_wait` seconds;
or no further item is being prepared. An idle worker gets it at once, unless an item runs alone.

A busy worker has one call of `infer` in hand, if a batch is due, and begins it as soon as it ends
the one before. Otherwise it would be idle while the event loop handles its results. A call in hand
holds no items. They stay in the queue until the worker takes them, and are chosen by the rules
above at that moment. So batches do not become smaller because of that, items keep their order, and
an item that expires or whose client leaves is not inferred.

With `runs_alone`, an item is inferred alone if no other is being prepared, waits or is in
inference. It may use the threads of all workers, so they all count as busy until it ends.

The items of an image that became several, its tiles, are held back: for all images together, only
two batches for each worker may wait or be in inference at a time. So an item that comes later waits
only for those. The places of the others are taken, but no batch and no prediction for an item that
is not held back waits for them.

There is no background task. Each event (an item, a freed worker, a released place, a timer of the
clock) runs the same decision, so tests can use a clock of their own.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic

from detection.admission import Admission
from detection.batch import Answer, Call, Entry, Item, Result, Take, fail
from detection.clock import Clock, Handle
from detection.deadline import NEVER, all_of
from detection.errors import InferenceFailed, Overloaded, Timeout
from detection.turns import Turns


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

    async def submit_all(self, items: Sequence[Item], deadline: float) -> list[Answer[Result]]:
        """Use begun places for the items that one item became; `extend` has taken the others.

        Several are held back: see the module. If one fails, raises its exception, drops the others
        and gives their places back. A reservation may have one call of this at a time.
        """
        if len(items) == 1:
            return [await self.submit(items[0], deadline)]
        batcher = self._batcher
        unused, later = self._unused - len(items), self._later - len(items) + 1
        # The place of the image itself, which was being prepared.
        self._later += 1
        batcher._expect(0, later=1)
        started = batcher.clock.stopwatch()

        async def one(item: Item) -> Answer[Result]:
            async with batcher._turns.turn(deadline):
                self.begin()
                # Others whose turn it is begin too, and share the batch.
                await asyncio.sleep(0)
                held_back = batcher.clock.stopwatch() - started
                answer = await self.submit(item, deadline)
            return replace(answer, queued=held_back + answer.queued)

        try:
            return await all_of(map(one, items))
        finally:
            left, left_later = self._unused - unused, self._later - later
            self._unused, self._later = unused, later
            batcher._expect(-left, later=-left_later)

    def extend(self, places: int, deadline: float = NEVER) -> None:
        """Take more places, for an item that became several. All or none; they are not begun.

        Raises Overloaded when they do not fit, or when the items of this reservation would miss the
        clock's time `deadline`. This also works while draining, because the request was accepted.
        """
        if not places:
            return
        batcher = self._batcher
        batcher.admission.check_room(batcher.depth, places)
        others = batcher._unanswered() - self._unused
        batcher.admission.check_deadline(others, self._unused + places, batcher._left(deadline))
        self._unused += places
        self._later += places
        batcher._expect(places, later=places)

    def give_up(self) -> None:
        """Give one place back, because its item will not come."""
        if self._unused:
            self._unused -= 1
            self._batcher._expect(-1)


@dataclass(eq=False)
class Batcher(Generic[Item, Result]):
    """Joins items into batches for `workers` that run `infer`.

    `infer(take, alone)` queues calls for its workers, as an executor does. A worker that begins a
    call asks `take` for 1 to `max_batch` items, and returns as many results. If it raises for
    several, each is tried again by itself, so that an item that breaks a batch fails without the
    others. At most one call for each worker waits in hand. While a failed batch is tried again, no
    further one does, because each of its items would wait for another batch.
    """

    infer: Callable[[Take[Item], bool], Awaitable[Sequence[Result]]]
    clock: Clock
    max_batch: int = 8
    max_wait: float = 0.005
    workers: int = 1
    runs_alone: bool = False
    """Whether an item is inferred `alone` if it is the only one that is accepted."""
    admission: Admission = field(default_factory=Admission)
    """Which items are accepted."""
    on_batch: Callable[[int], None] = lambda size: None
    """Called with the size of each batch when it begins, by the thread that calls `take`."""
    on_failure: Callable[[Exception], None] = lambda error: None
    """Called with each exception of `infer`; the items get an InferenceFailed without its text."""

    _queue: deque[Entry[Item, Result]] = field(default_factory=deque, init=False)
    _coming: int = field(default=0, init=False)
    _later: int = field(default=0, init=False)
    _inferring: int = field(default=0, init=False)
    _in_hand: int = field(default=0, init=False)
    """Calls that will take items from the queue and have not begun."""
    _retrying: int = field(default=0, init=False)
    """Failed batches whose items are being tried one by one."""
    _alone: bool = field(default=False, init=False)
    """Whether a call that runs alone is in hand or begun."""
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    """One task for each call in hand or begun."""
    _turns: Turns = field(init=False)
    """Of the items that are held back."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    """Held wherever the queue and the numbers above are changed, because `take` changes them in
    another thread; and wherever a decision needs several of them at one moment."""
    _timer: Handle | None = field(default=None, init=False)
    _draining: bool = field(default=False, init=False)
    _drained: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._turns = Turns(2 * self.workers * self.max_batch, self.clock)

    @property
    def depth(self) -> int:
        """Accepted items that are not yet in inference, including those being prepared."""
        return self._coming + len(self._queue)

    @property
    def wait(self) -> float:
        """The predicted wait for inference of an item accepted now, in seconds.

        Not for those whose preparation has not begun: they come after it.
        """
        return self._unanswered(at_once=True) * self.admission.image_seconds

    def _unanswered(self, *, at_once: bool = False) -> int:
        """Accepted items without an answer; `at_once`, without those that are not begun."""
        with self._lock:
            return self.depth + self._inferring - (self._later if at_once else 0)

    def check_room(self, places: int = 1, deadline: float = NEVER, *, at_once: bool = True) -> None:
        """Raise Overloaded if `reserve` would now, with the same arguments.

        An idle batcher accepts one item whatever the prediction, and several unless they would miss
        the deadline by themselves. A refusal because of `target_wait` begins an overload, except of
        what is not prepared `at_once`: it also waits for what is held back, and others do not.
        """
        if self._draining:
            raise Overloaded("the service is shutting down")
        self.admission.check_room(self.depth, places)
        unanswered = self._unanswered(at_once=at_once)
        self.admission.check_wait(unanswered, may_begin=at_once)
        self.admission.check_deadline(unanswered, places, self._left(deadline))

    def _left(self, deadline: float) -> float:
        """Seconds until a deadline. NEVER needs no clock, and so no running event loop."""
        return NEVER if deadline == NEVER else deadline - self.clock.time()

    @contextmanager
    def reserve(
        self, places: int, *, at_once: bool = True, deadline: float = NEVER
    ) -> Iterator[Reservation[Item, Result]]:
        """Take places for items that are being prepared; unused places are released at the end.

        Without `at_once`, each item is prepared only after its `begin`. Until then no batch waits
        for it, and it does not count in the wait of what is prepared at once. All or none: raises
        Overloaded when they do not fit, when they would wait too long or miss the clock's time
        `deadline`, or after `drain`.
        """
        self.check_room(places, deadline, at_once=at_once)
        reservation = Reservation(self, places, 0 if at_once else places)
        self._expect(places, later=reservation._later)
        try:
            yield reservation
        finally:
            self._expect(-reservation._unused, later=-reservation._later)
            reservation._unused = reservation._later = 0

    async def drain(self) -> None:
        """Accept no more items, and return when every accepted item has its answer."""
        self._draining = True
        self._decide()
        await self._drained.wait()

    def _expect(self, change: int, *, later: int = 0) -> None:
        with self._lock:
            self._coming += change
            self._later += later
        self._decide()

    def _postpone(self, change: int) -> None:
        with self._lock:
            self._later += change

    async def _enqueue(self, item: Item, deadline: float) -> Answer[Result]:
        future: asyncio.Future[Answer[Result]] = asyncio.get_running_loop().create_future()
        now, started = self.clock.time(), self.clock.stopwatch()
        entry = Entry(item, future, now, started, started + (deadline - now))
        entry.expiry = self.clock.call_at(deadline, lambda: self._expire(entry))
        with self._lock:
            self._queue.append(entry)
            self._coming -= 1
        self._decide()
        try:
            return await future
        finally:
            entry.expiry.cancel()
            entry.is_gone = True
            # Cancelled while waiting: dropped now, so that its place is free at once.
            if future.cancelled() and self._withdraw(entry):
                self._decide()

    def _expire(self, entry: Entry[Item, Result]) -> None:
        """Answer an item whose deadline has passed; nobody waits for it any more."""
        if not entry.future.done():
            entry.future.set_exception(Timeout("the deadline of the request passed"))
        if self._withdraw(entry):
            self._decide()

    def _withdraw(self, entry: Entry[Item, Result]) -> bool:
        """Remove an item from the queue; False if it is not there."""
        with self._lock:
            if entry not in self._queue:
                return False
            self._queue.remove(entry)
            return True

    def _decide(self) -> None:
        """Hand out a call for each batch that is due, and set a timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        most = self.workers if self._retrying else 2 * self.workers
        with self._lock:
            while len(self._running) < most and not self._alone:
                # The calls in hand will take the items before this one.
                first = self._in_hand * self.max_batch
                if first >= len(self._queue):
                    break
                oldest = self._queue[first]
                leaves_at = oldest.submitted + self.max_wait
                oldest.has_waited = self.clock.time() >= leaves_at
                if not self._is_due(first):
                    self._timer = self.clock.call_at(leaves_at, self._decide)
                    break
                self._hand_out(alone=self._is_alone())
        if self._draining and not (self._queue or self._running or self._coming):
            self._drained.set()

    def _expects(self) -> bool:
        """Whether an item is being prepared."""
        return self._coming > self._later

    def _is_due(self, first: int = 0) -> bool:
        """Whether the batch that begins with this item of the queue would leave now."""
        oldest = self._queue[first]
        full = len(self._queue) - first >= self.max_batch
        return (
            full
            or not self._expects()
            or oldest.has_waited
            or self.clock.stopwatch() >= oldest.started + self.max_wait
        )

    def _is_alone(self) -> bool:
        """Whether the next item is the only one that is accepted."""
        is_one = len(self._queue) == 1
        return self.runs_alone and is_one and not self._running and not self._expects()

    def _hand_out(self, *, alone: bool) -> None:
        self._in_hand += 1
        self._alone = alone
        task = asyncio.get_running_loop().create_task(self._work(Call(alone=alone)))
        self._running.add(task)
        task.add_done_callback(self._worker_idle)

    def _begin(self, call: Call[Item, Result]) -> list[Entry[Item, Result]]:
        """The items of a call, which begins now if it has not. The worker's thread runs this."""
        with self._lock:
            if call.batch is not None:
                return call.batch
            call.started = self.clock.stopwatch()
            if call.retried is None:
                self._in_hand -= 1
                waiting = self._queue if self._queue and self._is_due() else deque()
            else:
                waiting = deque([call.retried])
            batch = call.batch = []
            most = 1 if call.alone else self.max_batch
            while waiting and len(batch) < most:
                entry = waiting.popleft()
                if entry.expires <= call.started:
                    call.late.append(entry)
                elif not entry.is_gone:
                    batch.append(entry)
            self._inferring += len(batch)
        if batch:
            self.on_batch(len(batch))
        return batch

    def _end(self, call: Call[Item, Result]) -> None:
        with self._lock:
            if call.batch is None:
                # Cancelled in hand: if a worker still comes to it, there is nothing to do.
                call.batch = []
                self._in_hand -= call.retried is None
            self._inferring -= len(call.batch)

    def _worker_idle(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # If a call was alone, it was this one.
        self._alone = False
        self._decide()

    async def _work(self, call: Call[Item, Result]) -> None:
        """Run one batch, and answer each of its items, even if inference fails."""
        try:
            error = await self._infer(call)
            if error is not None and call.batch is not None and len(call.batch) > 1:
                await self._retry(call.batch)
        finally:
            fail(call.batch or (), InferenceFailed("the inference was interrupted"))

    async def _retry(self, batch: Sequence[Entry[Item, Result]]) -> None:
        """Try each item of a failed batch, one by one."""
        self._retrying += 1
        try:
            for entry in batch:
                # The client may have gone, or the deadline passed, while the other items were
                # tried.
                if not entry.future.done():
                    await self._infer(Call(retried=entry))
        finally:
            self._retrying -= 1

    async def _infer(self, call: Call[Item, Result]) -> Exception | None:
        """Infer a batch and answer its items.

        Returns an error, if any. Only a single item gets the error as its answer.
        """

        def take() -> list[Item]:
            return [entry.item for entry in self._begin(call)]

        try:
            results = await self.infer(take, call.alone)
            batch = self._begin(call)
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for a batch of {len(batch)}")
        except Exception as error:
            # The model and its runtime may raise anything, even before the batch is taken; the
            # items must get their answer.
            batch = self._begin(call)
            self.on_failure(error)
            if len(batch) == 1:
                fail(batch, InferenceFailed("the model failed on this image; the log says more"))
            return error
        finally:
            self._end(call)
            for entry in call.late:
                self._expire(entry)
        if not batch:
            return None
        inference = self.clock.stopwatch() - call.started
        each = inference / len(batch)
        self.admission.learn(each if call.alone else each / self.workers, alone=call.alone)
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():
                queued = call.started - entry.started
                entry.future.set_result(Answer(result, queued, inference, len(batch)))
        return None
