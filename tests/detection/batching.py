"""A batcher between a clock and a model that do only what a test says."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from detection.batcher import Answer, Batcher

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


class FakeModel:
    """Inference that ends when a test says so; items are numbers, results their doubles."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.pending: list[asyncio.Future[None]] = []
        self.poison: set[int] = set()
        self.busy = self.most_busy = 0

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending.append(future)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await future
        finally:
            self.busy -= 1
        if self.poison.intersection(items):
            raise RuntimeError("poison")
        return [2 * item for item in items]

    async def finish(self, index: int = 0) -> None:
        self.pending.pop(index).set_result(None)
        await settle()


class Bench:
    """A batcher between a fake clock and a fake model."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.model = FakeModel()
        self.failures: list[Exception] = []
        self.batcher: Batcher[int, int] = Batcher(
            infer=self.model, clock=self.clock, on_failure=self.failures.append, **options
        )

    def submit(self, item: int, deadline: float = NEVER) -> asyncio.Task[Answer[int]]:
        async def request() -> Answer[int]:
            with self.batcher.reserve(1) as places:
                return await places.submit(item, deadline)

        return asyncio.create_task(request())
