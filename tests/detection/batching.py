"""A batcher between a clock and a model that do only what a test says."""

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from detection.admission import Admission
from detection.batch import Answer, Take
from detection.batcher import Batcher
from detection.overload import Overload

NEVER = 1e9


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """A clock that advances only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, FakeTimer]] = []
        self.count = itertools.count()

    def time(self) -> float:
        return self.now

    def stopwatch(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self.timers, (when, next(self.count), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Advance the time, and run everything that falls due in order."""
        await settle()
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            when, _, timer = heapq.heappop(self.timers)
            self.now = max(self.now, when)
            if timer.callback is not None:
                timer.callback()
            await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Run every task until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass(eq=False)
class FakeCall:
    """A call of inference, of the batcher's task `worker`."""

    take: Take[int]
    worker: asyncio.Task[Any]
    results: asyncio.Future[list[int]]
    alone: bool = False
    waited: bool = False
    """Whether every thread was busy when it came."""
    items: Sequence[int] = ()


class FakeThreads:
    """An executor whose threads end a call when a test says so.

    As in a real one, calls wait in one queue, and a thread that ends a call begins the next one
    before the event loop hears of the end.
    """

    def __init__(self, threads: int, began: Callable[[FakeCall], object]) -> None:
        self.threads = threads
        self.began = began
        """Called with each call that has items to infer."""
        self.in_hand: list[FakeCall] = []
        self.busy: list[FakeCall] = []

    def submit(self, take: Take[int], alone: bool) -> asyncio.Future[list[int]]:
        worker = asyncio.current_task()
        assert worker is not None
        call = FakeCall(take, worker, asyncio.get_running_loop().create_future(), alone)
        self.in_hand.append(call)
        self._begin()
        call.waited = call in self.in_hand
        return call.results

    def end(self, call: FakeCall, results: list[int] | Exception) -> None:
        self.busy.remove(call)
        self._begin()
        if call.results.done():
            assert call.results.cancelled()
        elif isinstance(results, Exception):
            call.results.set_exception(results)
        else:
            call.results.set_result(results)

    def _begin(self) -> None:
        while self.in_hand and len(self.busy) < self.threads:
            call = self.in_hand.pop(0)
            if call.results.cancelled():
                continue
            call.items = call.take()
            if call.items:
                self.busy.append(call)
                self.began(call)
            else:
                call.results.set_result([])


class FakeModel:
    """Inference that ends when a test says so; items are numbers, results their doubles."""

    def __init__(self, workers: int) -> None:
        self.batches: list[list[int]] = []
        self.alone: list[bool] = []
        """Of each batch."""
        self.poison: set[int] = set()
        self.most_busy = 0
        self.threads = FakeThreads(workers, self.began)

    def __call__(self, take: Take[int], alone: bool) -> asyncio.Future[list[int]]:
        return self.threads.submit(take, alone)

    def began(self, call: FakeCall) -> None:
        self.batches.append(list(call.items))
        self.alone.append(call.alone)
        self.most_busy = max(self.most_busy, self.busy)

    @property
    def busy(self) -> int:
        return len(self.threads.busy)

    def end(self, index: int = 0) -> None:
        """End a call in its thread; the event loop does not run."""
        call = self.threads.busy[index]
        poisoned = self.poison.intersection(call.items)
        doubles = [2 * item for item in call.items]
        self.threads.end(call, RuntimeError("poison") if poisoned else doubles)

    async def finish(self, index: int = 0) -> None:
        """End a call, and run every task until it waits."""
        self.end(index)
        await settle()


ADMISSION = {"queue_limit", "image_seconds"}
"""The options of a bench that go to the admission of its batcher."""


class Bench:
    """A batcher between a fake clock and a fake model."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.model = FakeModel(options.get("workers", 1))
        self.failures: list[Exception] = []
        limits = {name: options.pop(name) for name in ADMISSION & options.keys()}
        limits["overload"] = Overload(options.pop("target_wait", math.inf))
        self.batcher: Batcher[int, int] = Batcher(
            infer=self.model,
            clock=self.clock,
            on_failure=self.failures.append,
            admission=Admission(**limits),
            **options,
        )

    async def finish(self, batches: int = 1, each_takes: float = 0.0) -> None:
        """Let so many batches end, one after the other."""
        for _ in range(batches):
            await self.clock.advance(each_takes)
            await self.model.finish()

    def submit(self, item: int, deadline: float = NEVER) -> asyncio.Task[Answer[int]]:
        async def request() -> Answer[int]:
            with self.batcher.reserve(1) as places:
                return await places.submit(item, deadline)

        return asyncio.create_task(request())


async def submit_tiles(
    bench: Bench, items: Sequence[int], deadline: float = NEVER
) -> list[Answer[int]]:
    """The answers of an image that becomes several items."""
    with bench.batcher.reserve(1, at_once=False) as places:
        places.begin()
        places.extend(len(items) - 1)
        return await places.submit_all(items, deadline)


def bench_test(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run
