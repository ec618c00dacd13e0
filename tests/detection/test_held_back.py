"""The tiles of an image let other items pass, and come to an end nevertheless."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from detection.admission import Admission
from detection.batch import Take
from detection.batcher import Batcher
from detection.clock import LoopClock
from detection.errors import InferenceFailed, RequestError, Timeout
from tests.detection.batching import NEVER, Bench, bench_test, settle, submit_tiles


@bench_test
async def test_an_item_waits_for_two_batches_of_tiles_only() -> None:
    bench = Bench(max_batch=4)
    tiled = asyncio.create_task(submit_tiles(bench, range(20)))
    await settle()
    single = bench.submit(100)
    await settle()
    for _ in range(6):
        await bench.model.finish()
    assert bench.model.batches == [
        [0, 1, 2, 3], [4, 5, 6, 7], [100, 8, 9, 10], [11, 12, 13, 14], [15, 16, 17, 18], [19],
    ]  # fmt: skip
    assert (await single).result == 200
    assert [answer.result for answer in await tiled] == [2 * item for item in range(20)]
    assert bench.batcher.depth == 0


@bench_test
async def test_tiles_get_their_share_under_a_steady_load() -> None:
    bench = Bench(max_batch=1)
    singles = [bench.submit(100 + item) for item in range(6)]
    await settle()
    tiled = asyncio.create_task(submit_tiles(bench, range(20)))
    await settle()
    for _ in range(90):
        # Six clients: each asks again once it has its answer.
        if sum(not single.done() for single in singles) < 6:
            singles.append(bench.submit(100 + len(singles)))
        await bench.finish(each_takes=0.1)
    assert tiled.done()
    assert [answer.result for answer in await tiled] == [2 * item for item in range(20)]
    await bench.finish(5)
    assert all(task.done() for task in singles)


@bench_test
async def test_the_tiles_of_one_image_end_before_those_of_the_next_begin() -> None:
    bench = Bench(max_batch=2)
    tasks = [asyncio.create_task(submit_tiles(bench, range(begin, begin + 6))) for begin in (0, 10)]
    await settle()
    await bench.finish(6)
    await asyncio.gather(*tasks)
    assert bench.model.batches == [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13], [14, 15]]


@bench_test
async def test_the_time_until_its_turn_is_part_of_a_tiles_wait() -> None:
    bench = Bench(max_batch=1)
    tiled = asyncio.create_task(submit_tiles(bench, range(4)))
    await bench.finish(4, each_takes=1.0)
    assert [(each.queued, each.inference) for each in await tiled] == [
        (0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0),
    ]  # fmt: skip


@bench_test
async def test_tiles_whose_turn_never_comes_are_answered_at_their_deadline() -> None:
    bench = Bench(max_batch=1)
    first = asyncio.create_task(submit_tiles(bench, range(10)))
    await settle()
    late = asyncio.create_task(submit_tiles(bench, range(20, 30), deadline=2.0))
    await bench.clock.advance(2.0)
    with pytest.raises(Timeout):
        await late
    assert bench.batcher.depth == 9, "its places are free"
    await bench.finish(10)
    assert len(await first) == 10
    assert bench.batcher.depth == 0


@bench_test
async def test_tiles_of_a_client_that_leaves_make_room_at_once() -> None:
    bench = Bench(max_batch=1, queue_limit=12)
    first = asyncio.create_task(submit_tiles(bench, range(12)))
    await settle()
    first.cancel()
    await settle()
    assert bench.batcher.depth == 0
    second = asyncio.create_task(submit_tiles(bench, range(20, 32)))
    await settle()
    await bench.finish(13)
    assert len(await second) == 12
    assert bench.model.batches == [[0], *([item] for item in range(20, 32))]


@bench_test
async def test_a_tile_that_fails_gives_back_the_places_of_the_others() -> None:
    bench = Bench(max_batch=1)
    bench.model.poison.add(1)
    with bench.batcher.reserve(2, at_once=False) as places:
        places.begin()
        places.extend(9)
        failing = asyncio.create_task(places.submit_all(range(10), NEVER))
        await settle()
        await bench.finish(3)
        with pytest.raises(InferenceFailed):
            await failing
        assert bench.batcher.depth == 1, "the next image's"
        places.begin()
        places.extend(2)
        following = asyncio.create_task(places.submit_all([20, 21, 22], NEVER))
        await settle()
        await bench.finish(3)
        assert [answer.result for answer in await following] == [40, 42, 44]
    assert bench.batcher.depth == 0
    assert bench.batcher.wait == 0


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_when_tiles_and_items_come_leave_and_expire(seed: int) -> None:
    asyncio.run(mix(random.Random(seed)))


async def mix(chance: random.Random) -> None:
    """With real threads: each request gets its results or a reason, and the queue is empty."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:

        def work(take: Take[int]) -> list[int]:
            return [2 * item for item in take()]

        batcher: Batcher[int, int] = Batcher(
            infer=lambda take, alone: loop.run_in_executor(pool, work, take),
            clock=LoopClock(),
            max_batch=2,
            admission=Admission(queue_limit=10_000),
            workers=2,
        )

        async def request(item: int) -> list[int]:
            count = chance.choice([1, 1, 30])
            deadline = loop.time() + chance.choice([0.0, 0.002, NEVER, NEVER])
            with batcher.reserve(1, at_once=count == 1) as places:
                if count > 1:
                    places.begin()
                    places.extend(count - 1)
                answers = await places.submit_all([item] * count, deadline)
            return [answer.result for answer in answers]

        tasks = []
        for item in range(400):
            tasks.append(asyncio.create_task(request(item)))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
                chance.choice(tasks[-20:]).cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        await asyncio.wait_for(batcher.drain(), 60)
    for item, result in enumerate(results):
        if isinstance(result, BaseException):
            assert isinstance(result, RequestError | asyncio.CancelledError)
        else:
            assert set(result) == {2 * item}
    assert batcher.depth == 0
    assert batcher.wait == 0
    assert batcher._turns.free == 2 * 2 * 2, "a turn is lost"
