"""The time by which a request must be answered."""

import asyncio
import math
from collections.abc import Awaitable, Coroutine, Iterable
from typing import TypeVar

from detection.errors import Timeout

NEVER = math.inf
"""The deadline of work that may take as long as it takes: no server's limit applies to it."""

T = TypeVar("T")


async def until(deadline: float, work: Awaitable[T]) -> T:
    """The result of `work`. Raises Timeout if the event loop's clock passes `deadline` first."""
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise Timeout("the deadline of the request passed") from None


async def all_of(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """All results. If a task fails, raises its exception and cancels the others."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
