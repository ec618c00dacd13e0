import asyncio
import itertools
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from detection.admission import Admission
from detection.batch import Answer, Take
from detection.batcher import Batcher, Reservation
from detection.clock import LoopClock
from detection.errors import InferenceFailed, Overloaded, Timeout
from tests.detection.batching import NEVER, Bench, FakeClock, bench_test, settle


@bench_test
async def test_a_single_item_is_sent_at_once() -> None:
    bench = Bench(max_batch=8, max_wait=1.0)
    task = bench.submit(3)
    await settle()
    assert bench.model.batches == [[3]]
    await bench.clock.advance(0.25)
    await bench.model.finish()
    assert await task == Answer(result=6, queued=0.0, inference=0.25, batch_size=1)


@bench_test
async def test_items_that_arrive_while_the_worker_is_busy_are_sent_together() -> None:
    bench = Bench(max_batch=8, max_wait=1.0)
    tasks = [bench.submit(1)]
    await settle()
    tasks += [bench.submit(item) for item in (2, 3, 4)]
    await settle()
    assert bench.model.batches == [[1]]
    await bench.clock.advance(0.5)
    await bench.model.finish()
    assert bench.model.batches == [[1], [2, 3, 4]]
    await bench.model.finish()
    answers = [await task for task in tasks]
    assert [a.result for a in answers] == [2, 4, 6, 8]
    assert [a.batch_size for a in answers] == [1, 3, 3, 3]
    assert [a.queued for a in answers] == [0.0, 0.5, 0.5, 0.5]


@bench_test
async def test_an_item_waits_for_one_that_is_being_prepared_but_not_longer_than_the_wait() -> None:
    bench = Bench(max_batch=8, max_wait=1.0)
    with bench.batcher.reserve(1):
        task = bench.submit(1)
        await bench.clock.advance(0.99)
        assert bench.model.batches == []
        await bench.clock.advance(0.01)
        assert bench.model.batches == [[1]]
        await bench.model.finish()
        assert (await task).queued == 1.0


@bench_test
async def test_an_item_is_sent_when_the_one_it_waited_for_is_cancelled() -> None:
    bench = Bench(max_batch=8, max_wait=1.0)
    with bench.batcher.reserve(1) as places:
        task = bench.submit(1)
        await settle()
        assert bench.model.batches == []
        places.give_up()
        await settle()
        assert bench.model.batches == [[1]]
    await bench.model.finish()
    await task


@bench_test
async def test_no_batch_waits_for_an_item_that_is_not_yet_prepared() -> None:
    bench = Bench(max_batch=8, max_wait=1.0, queue_limit=3)
    with bench.batcher.reserve(2, at_once=False) as places:
        assert bench.batcher.depth == 2
        lone = bench.submit(1)
        await settle()
        assert bench.model.batches == [[1]]
        await bench.model.finish()
        places.begin()
        other = bench.submit(2)
        await settle()
        assert bench.model.batches == [[1]]
        own = asyncio.create_task(places.submit(3, NEVER))
        await settle()
        assert bench.model.batches == [[1], [2, 3]]
        await bench.model.finish()
        assert bench.batcher.depth == 1
    assert bench.batcher.depth == 0
    # The place that was never begun is ignored; the batch waits for the item being prepared.
    with bench.batcher.reserve(1):
        held = bench.submit(4)
        await settle()
        assert bench.model.batches == [[1], [2, 3]]
    await settle()
    await bench.model.finish()
    await asyncio.gather(lone, other, own, held)


@bench_test
async def test_a_full_batch_is_sent_although_more_items_are_coming() -> None:
    bench = Bench(max_batch=2, max_wait=1.0)
    with bench.batcher.reserve(1):
        tasks = [bench.submit(1), bench.submit(2)]
        await settle()
        assert bench.model.batches == [[1, 2]]
        await bench.model.finish()
        await asyncio.gather(*tasks)


@bench_test
async def test_the_wait_counts_from_the_oldest_item() -> None:
    bench = Bench(max_batch=8, max_wait=1.0)
    with bench.batcher.reserve(1):
        first = bench.submit(1)
        await bench.clock.advance(0.75)
        second = bench.submit(2)
        await bench.clock.advance(0.25)
        assert bench.model.batches == [[1, 2]]
        await bench.model.finish()
        assert [(await first).queued, (await second).queued] == [1.0, 0.25]


@bench_test
async def test_several_workers_take_batches_at_the_same_time() -> None:
    bench = Bench(max_batch=1, workers=2)
    tasks = [bench.submit(item) for item in (1, 2, 3)]
    await settle()
    assert bench.model.batches == [[1], [2]]
    await bench.model.finish(1)
    assert bench.model.batches == [[1], [2], [3]]
    await bench.model.finish()
    await bench.model.finish()
    assert [(await task).result for task in tasks] == [2, 4, 6]


@bench_test
async def test_a_full_queue_refuses_and_a_freed_place_is_reused() -> None:
    bench = Bench(max_batch=1, queue_limit=2)
    running = bench.submit(0)
    await settle()
    waiting = [bench.submit(1), bench.submit(2)]
    await settle()
    assert bench.batcher.depth == 2
    with pytest.raises(Overloaded, match="queue of 2 images is full"):
        await bench.submit(3)
    await bench.model.finish()
    later = bench.submit(4)
    await settle()
    assert not later.done()
    for _ in range(3):
        await bench.model.finish()
    await asyncio.gather(running, *waiting, later)
    assert bench.batcher.depth == 0


@bench_test
async def test_a_request_gets_all_its_places_or_none() -> None:
    bench = Bench(queue_limit=3)
    with bench.batcher.reserve(2):
        with pytest.raises(Overloaded), bench.batcher.reserve(2):
            pytest.fail("two places were given where one was left")
        assert bench.batcher.depth == 2
    assert bench.batcher.depth == 0


@bench_test
async def test_an_expired_item_is_answered_at_its_deadline_and_never_inferred() -> None:
    bench = Bench(max_batch=8)
    running = bench.submit(1)
    await settle()
    late = bench.submit(2, deadline=1.0)
    await bench.clock.advance(1.0)
    with pytest.raises(Timeout):
        await late
    assert bench.batcher.depth == 0
    await bench.model.finish()
    assert (await running).result == 2
    assert bench.model.batches == [[1]]


@bench_test
async def test_an_item_in_inference_is_answered_at_its_deadline() -> None:
    bench = Bench()
    task = bench.submit(1, deadline=1.0)
    await bench.clock.advance(1.0)
    with pytest.raises(Timeout):
        await task
    await bench.model.finish()


@bench_test
async def test_a_cancelled_item_leaves_the_queue_and_is_never_inferred() -> None:
    bench = Bench(max_batch=8)
    running = bench.submit(1)
    await settle()
    gone = bench.submit(2)
    stays = bench.submit(3)
    await settle()
    gone.cancel()
    await settle()
    assert bench.batcher.depth == 1
    await bench.model.finish()
    await bench.model.finish()
    await running
    await stays
    assert bench.model.batches == [[1], [3]]


@bench_test
async def test_only_the_item_that_breaks_a_batch_fails() -> None:
    bench = Bench(max_batch=8)
    bench.model.poison = {3}
    first = bench.submit(1)
    await settle()
    tasks = [bench.submit(item) for item in (2, 3, 4)]
    await settle()
    for _ in range(5):
        await bench.model.finish()
    assert bench.model.batches == [[1], [2, 3, 4], [2], [3], [4]]
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [r.result if isinstance(r, Answer) else type(r) for r in results] == [
        2,
        4,
        InferenceFailed,
        8,
    ]
    assert [str(error) for error in bench.failures] == ["poison", "poison"]


@bench_test
async def test_cancelled_and_expired_items_of_a_failed_batch_are_not_retried() -> None:
    bench = Bench(max_batch=8)
    bench.model.poison = {2}
    first = bench.submit(1)
    await settle()
    poisonous, late, gone, stays = (
        bench.submit(2), bench.submit(3, deadline=5.0), bench.submit(4), bench.submit(5)
    )  # fmt: skip
    await settle()
    await bench.model.finish()
    await bench.model.finish()
    assert bench.model.batches == [[1], [2, 3, 4, 5], [2]]
    gone.cancel()
    await bench.clock.advance(5.0)
    await bench.model.finish()
    await bench.model.finish()
    assert bench.model.batches == [[1], [2, 3, 4, 5], [2], [5]]
    with pytest.raises(InferenceFailed):
        await poisonous
    with pytest.raises(Timeout):
        await late
    assert [(await each).result for each in (first, stays)] == [2, 10]


@bench_test
async def test_an_item_whose_timer_is_late_is_not_inferred_after_its_deadline() -> None:
    """A busy loop runs due callbacks in any order, so the freed worker may come first."""
    bench = Bench(max_batch=1)
    running = bench.submit(1)
    await settle()
    late, stays = bench.submit(2, deadline=5.0), bench.submit(3)
    await settle()
    bench.clock.now = 6.0
    await bench.model.finish()
    await bench.model.finish()
    assert bench.model.batches == [[1], [3]]
    with pytest.raises(Timeout):
        await late
    assert [(await each).result for each in (running, stays)] == [2, 6]


@bench_test
async def test_a_wrong_number_of_results_is_a_failure() -> None:
    async def infer(take: Take[int], alone: bool) -> list[int]:
        return [0] * (len(take()) + 1)

    clock = FakeClock()
    batcher: Batcher[int, int] = Batcher(infer=infer, clock=clock)
    with batcher.reserve(1) as places, pytest.raises(InferenceFailed):
        await places.submit(1, NEVER)


@bench_test
async def test_draining_refuses_new_items_and_waits_for_the_accepted_ones() -> None:
    bench = Bench(max_batch=1)
    tasks = [bench.submit(1), bench.submit(2)]
    await settle()
    drain = asyncio.create_task(bench.batcher.drain())
    await settle()
    with pytest.raises(Overloaded, match="shutting down"):
        await bench.submit(3)
    await bench.model.finish()
    assert not drain.done()
    await bench.model.finish()
    assert [(await task).result for task in tasks] == [2, 4]
    await settle()
    assert drain.done()


@bench_test
async def test_an_idle_batcher_drains_at_once() -> None:
    await Bench().batcher.drain()


@bench_test
async def test_items_of_a_cancelled_worker_are_still_answered() -> None:
    bench = Bench()
    task = bench.submit(1)
    await settle()
    (worker,) = bench.batcher._running
    worker.cancel()
    with pytest.raises(InferenceFailed, match="interrupted"):
        await task


@bench_test
async def test_a_reservation_has_no_more_places_than_were_taken() -> None:
    bench = Bench()
    with bench.batcher.reserve(1) as places:
        task = asyncio.create_task(places.submit(1, NEVER))
        await settle()
        with pytest.raises(ValueError, match="all places"):
            await places.submit(2, NEVER)
        await bench.model.finish()
        await task


@pytest.mark.parametrize("seed", range(60))
def test_every_accepted_item_is_answered_exactly_once_whatever_happens(seed: int) -> None:
    """A random hour: requests of 1-4 items come, fail to decode, expire, leave; batches fail."""
    asyncio.run(simulate(random.Random(seed)))


async def simulate(chance: random.Random) -> None:
    options = {
        "max_batch": chance.choice([1, 2, 3, 8]),
        "max_wait": chance.choice([0.0, 0.5, 2.0]),
        "queue_limit": chance.choice([4, 8, 100]),
        "workers": chance.choice([1, 1, 2, 3]),
    }
    bench = Bench(**options)
    numbers = itertools.count()
    answers: dict[int, list[object]] = {}
    refused = preparing = 0

    async def request(size: int) -> None:
        nonlocal refused
        try:
            if chance.random() < 0.3:
                with bench.batcher.reserve(size, at_once=False) as places:
                    for _ in range(size):
                        places.begin()
                        await prepare_and_submit(places)
            else:
                with bench.batcher.reserve(size) as places:
                    await asyncio.gather(*(prepare_and_submit(places) for _ in range(size)))
        except Overloaded:
            refused += 1

    async def prepare_and_submit(places: Reservation[int, int]) -> None:
        nonlocal preparing
        if (steps := chance.randrange(4)) == 3:
            places.give_up()
            return
        preparing += 1
        try:
            for _ in range(steps * 15):
                await asyncio.sleep(0)
        finally:
            preparing -= 1
        item = next(numbers)
        if chance.random() < 0.1:
            bench.model.poison.add(item)
        answers[item] = []
        deadline = bench.clock.now + chance.choice([0.3, 3.0, NEVER])
        try:
            answers[item].append(await places.submit(item, deadline))
        except (Timeout, InferenceFailed, asyncio.CancelledError) as error:
            answers[item].append(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    tasks: list[asyncio.Task[None]] = []
    for _ in range(120):
        match chance.randrange(5):
            case 0 | 1:
                tasks.append(asyncio.create_task(request(chance.randint(1, 4))))
                await asyncio.sleep(0)
            case 2:
                await bench.clock.advance(chance.choice([0.0, 0.1, 1.0]))
            case 3 if bench.model.busy:
                await bench.model.finish(chance.randrange(bench.model.busy))
            case 4 if tasks and chance.random() < 0.3:
                chance.choice(tasks).cancel()
        assert bench.batcher.depth <= options["queue_limit"]
        if chance.random() < 0.2:
            await settle()
            await settle()
            await settle()
            if bench.batcher._queue and not preparing:
                assert bench.model.busy == options["workers"], "an item waits, a worker is idle"

    drain = asyncio.create_task(bench.batcher.drain())
    for _ in range(2000):
        await settle()
        if drain.done():
            break
        if bench.model.busy:
            await bench.model.finish()
        else:
            await bench.clock.advance(0.5)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert drain.done()
    assert bench.batcher.depth == 0
    assert bench.model.most_busy <= options["workers"]
    assert all(len(batch) <= options["max_batch"] for batch in bench.model.batches)
    for item, answer in answers.items():
        assert len(answer) == 1, f"item {item} has {len(answer)} answers"
        if isinstance(answer[0], Answer):
            assert answer[0].result == 2 * item
            assert item not in bench.model.poison


@bench_test
async def test_an_item_that_becomes_several_gets_all_its_places_or_none() -> None:
    bench = Bench(queue_limit=4)
    with bench.batcher.reserve(1) as places:
        with pytest.raises(Overloaded, match="queue of 4"):
            places.extend(4)
        assert bench.batcher.depth == 1
        places.extend(3)
        assert bench.batcher.depth == 4
        with pytest.raises(Overloaded):
            bench.batcher.check_room()
    assert bench.batcher.depth == 0


@bench_test
async def test_an_accepted_item_may_become_several_while_draining() -> None:
    bench = Bench(max_batch=8)
    with bench.batcher.reserve(1) as places:
        draining = asyncio.create_task(bench.batcher.drain())
        await settle()
        places.extend(2)
        task = asyncio.create_task(places.submit_all([1, 2, 3], NEVER))
        await settle()
        assert bench.model.batches == [[1, 2, 3]]
        assert not draining.done()
        await bench.model.finish()
        assert [answer.result for answer in await task] == [2, 4, 6]
    await draining


@pytest.mark.parametrize("max_batch", [1, 4])
def test_real_threads_answer_each_item_once(max_batch: int) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asyncio.run(race(max_batch))
    finally:
        sys.setswitchinterval(interval)


async def race(max_batch: int) -> None:
    """Items come, leave and expire while three threads take batches."""
    chance = random.Random(max_batch)
    begun: list[int] = []

    def work(take: Take[int]) -> list[int]:
        items = take()
        begun.extend(items)
        return [2 * item for item in items]

    with ThreadPoolExecutor(3) as pool:
        loop = asyncio.get_running_loop()
        batcher: Batcher[int, int] = Batcher(
            infer=lambda take, alone: loop.run_in_executor(pool, work, take),
            clock=LoopClock(),
            max_batch=max_batch,
            admission=Admission(queue_limit=4000),
            workers=3,
        )

        async def request(item: int) -> int:
            with batcher.reserve(1) as places:
                deadline = loop.time() + chance.choice([0.0, 0.001, NEVER, NEVER])
                return (await places.submit(item, deadline)).result

        tasks = []
        for item in range(2000):
            tasks.append(asyncio.create_task(request(item)))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
                chance.choice(tasks[-20:]).cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        await asyncio.wait_for(batcher.drain(), 60)
    assert batcher.depth == 0
    assert batcher.wait == 0
    assert len(begun) == len(set(begun)), "an item was inferred twice"
    answered = {item for item, result in enumerate(results) if result == 2 * item}
    assert answered <= set(begun)
    refused = {type(result) for item, result in enumerate(results) if item not in answered}
    assert refused <= {Timeout, asyncio.CancelledError}
