"""The pace of refusals."""

import asyncio
from collections.abc import Iterator

import pytest

from service.pace import MOST, MOST_S, PER_SECOND, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def delays(every: float, count: int) -> Iterator[float]:
    """The delays of refusals that come so many seconds apart."""
    clock = Clock()
    pace = Pace(clock)
    for _ in range(count):
        yield pace.delay()
        clock.now += every


def test_refusals_below_the_pace_are_sent_at_once() -> None:
    assert set(delays(1.001 / PER_SECOND, 200)) == {0}


def test_a_burst_is_sent_at_once() -> None:
    found = list(delays(0, int(PER_SECOND * MOST_S) + 1))
    assert set(found[:-1]) == {0}
    assert found[-1] == pytest.approx(1 / PER_SECOND)


def test_no_refusal_waits_for_longer_than_the_most() -> None:
    assert max(delays(0.1 / PER_SECOND, 1000)) == MOST_S


def test_refusals_are_sent_at_once_again_after_a_pause() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(1000):
        pace.delay()
    clock.now += 2 * MOST_S
    assert pace.delay() < 1.001 / PER_SECOND
    clock.now += 2 * MOST_S
    assert pace.delay() == 0


def test_a_client_that_repeats_at_once_is_refused_at_the_pace() -> None:
    clock = Clock()
    pace = Pace(clock)
    clients = [clock.now] * 16
    """When the next request of each comes."""
    refused, end = 0, clock.now + 20
    while min(clients) < end:
        clock.now = min(clients)
        clients[clients.index(clock.now)] = clock.now + pace.delay() + 0.002
        refused += 1
    assert refused == pytest.approx(20 * PER_SECOND, rel=0.05)


def test_only_so_many_refusals_wait_at_a_time() -> None:
    async def wait_for_all() -> int:
        pace = Pace(Clock())
        at_once = int(PER_SECOND * MOST_S)
        waiting = [asyncio.ensure_future(pace.wait()) for _ in range(at_once + MOST + 10)]
        await asyncio.sleep(0)
        left = sum(not each.done() for each in waiting)
        await asyncio.gather(*waiting)
        another = asyncio.ensure_future(pace.wait())
        await asyncio.sleep(0)
        assert not another.done(), "there is room again"
        await another
        return left

    assert asyncio.run(wait_for_all()) == MOST
