"""Who may send a message next, and for how long."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from detection.errors import Overloaded
from service.rpc import turns
from service.rpc.turns import Turns


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONGEST_S", 0.05)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def hold(turns: Turns, peer: str, ended: asyncio.Event, order: list[str]) -> None:
    async with turns.take(peer):
        order.append(peer)
        await ended.wait()


async def endings(tasks: list[asyncio.Task[None]]) -> list[type]:
    """The types of what the tasks returned or raised."""
    return [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)]


def test_a_turn_that_nobody_waits_for_may_take_long() -> None:
    async def scenario() -> None:
        async with Turns(1).take("a"):
            await asyncio.sleep(0.2)

    run(scenario())


def test_a_turn_ends_when_another_call_waits() -> None:
    async def scenario() -> None:
        shared, never, order = Turns(1), asyncio.Event(), list[str]()
        silent = asyncio.create_task(hold(shared, "a", never, order))
        await asyncio.sleep(0.2)
        async with shared.take("b"):
            order.append("b")
        with pytest.raises(Overloaded, match="did not arrive within"):
            await silent
        assert order == ["a", "b"]

    run(scenario())


def test_the_limit_goes_when_the_call_that_waits_goes() -> None:
    async def scenario() -> None:
        shared, ended, order = Turns(1), asyncio.Event(), list[str]()
        first = asyncio.create_task(hold(shared, "a", ended, order))
        second = asyncio.create_task(hold(shared, "b", ended, order))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0.2)
        assert not first.done()
        ended.set()
        await first
        assert order == ["a"]

    run(scenario())


def test_only_as_many_turns_end_as_others_wait_for() -> None:
    async def scenario() -> None:
        shared, ended, order = Turns(3), asyncio.Event(), list[str]()
        slow = [asyncio.create_task(hold(shared, "a", ended, order)) for _ in range(3)]
        # Longer than a turn may take while others wait.
        await asyncio.sleep(0.2)
        async with shared.take("b"):
            order.append("b")
        ended.set()
        assert await endings(slow) == [Overloaded, type(None), type(None)]

    run(scenario())


def test_a_peer_with_fewer_turns_comes_first() -> None:
    async def scenario() -> None:
        shared, ended, order = Turns(2), asyncio.Event(), list[str]()
        greedy = [asyncio.create_task(hold(shared, "a", ended, order)) for _ in range(20)]
        await asyncio.sleep(0)
        async with shared.take("b"):
            order.append("b")
        assert order[:3] == ["a", "a", "b"]
        ended.set()
        first, *_, last = await endings(greedy)
        assert (first, last) == (Overloaded, type(None))

    run(scenario())


def test_a_peer_with_more_turns_gives_one_up() -> None:
    async def scenario() -> None:
        shared, ended, order = Turns(3), asyncio.Event(), list[str]()
        peers = ["b", "a", "a"]
        tasks = [asyncio.create_task(hold(shared, peer, ended, order)) for peer in peers]
        await asyncio.sleep(0)
        async with shared.take("c"):
            order.append("c")
        ended.set()
        assert await endings(tasks) == [type(None), Overloaded, type(None)]

    run(scenario())


def test_a_cancelled_call_gives_its_turn_back() -> None:
    async def scenario() -> None:
        shared, never, order = Turns(1), asyncio.Event(), list[str]()
        first = asyncio.create_task(hold(shared, "a", never, order))
        second = asyncio.create_task(hold(shared, "b", never, order))
        await asyncio.sleep(0)
        # The turn is free at the moment when the one that waits is cancelled.
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with shared.take("c"):
            order.append("c")
        assert order == ["a", "c"]

    run(scenario())


def test_a_timeout_of_the_block_stays_one() -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with Turns(1).take("a"):
                raise TimeoutError

    run(scenario())
