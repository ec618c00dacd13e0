"""Work that must be done by a time of the event loop's clock."""

import asyncio
import math

import pytest

from detection.deadline import until
from detection.errors import Timeout


async def later(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


def test_work_that_ends_in_time_gives_its_result() -> None:
    async def run() -> list[str]:
        now = asyncio.get_running_loop().time()
        return [await until(now + 20, later(0.01)), await until(math.inf, later(0))]

    assert asyncio.run(run()) == ["done", "done"]


@pytest.mark.parametrize("seconds", [0.02, -1.0])
def test_work_that_does_not_is_cancelled_and_a_timeout(seconds: float) -> None:
    async def run() -> bool:
        task = asyncio.ensure_future(later(20))
        with pytest.raises(Timeout, match="the deadline of the request passed"):
            await until(asyncio.get_running_loop().time() + seconds, task)
        return task.cancelled()

    assert asyncio.run(run())


def test_an_error_of_the_work_itself_comes_through() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(until(math.inf, fail()))


def test_a_cancelled_caller_is_cancelled_not_out_of_time() -> None:
    async def run() -> bool:
        task = asyncio.ensure_future(until(math.inf, later(20)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run())
