import asyncio
import itertools
import random
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from detection.batcher import Answer, Batcher, Reservation, Take
from detection.errors import InferenceFailed, Overloaded, Timeout
from detection.opening import LoopClock
from tests.detection.batching import NEVER, Bench, FakeClock, settle


def bench_test(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


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
    async def infer(take: Take[int]) -> list[int]:
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
        tasks = [asyncio.create_task(places.submit(item, NEVER)) for item in (1, 2, 3)]
        await settle()
        assert bench.model.batches == [[1, 2, 3]]
        assert not draining.done()
        await bench.model.finish()
        assert [(await task).result for task in tasks] == [2, 4, 6]
    await draining


@bench_test
async def test_the_cost_of_an_item_is_learnt_from_the_batches() -> None:
    bench = Bench(max_batch=1, workers=2)
    assert bench.batcher.image_seconds == 0
    for _ in range(2):
        task = bench.submit(1)
        await bench.clock.advance(0.5)
        await bench.model.finish()
        await task
    assert bench.batcher.image_seconds == pytest.approx(0.25), "of both workers together"


@bench_test
async def test_an_item_that_would_wait_too_long_is_refused_at_once() -> None:
    bench = Bench(max_batch=1, image_seconds=0.5, target_wait=1.2)
    tasks = [bench.submit(item) for item in range(3)]
    await settle()
    assert bench.batcher.wait == pytest.approx(1.5), "one is in inference, two wait"
    with pytest.raises(Overloaded, match=r"the wait would be 1\.5 s, longer than the 1\.2 s") as e:
        bench.batcher.check_room()
    assert e.value.retry_after_s == 1
    refused = bench.submit(3)
    await settle()
    with pytest.raises(Overloaded):
        await refused
    for _ in range(3):
        await bench.model.finish()
    assert [answer.result for answer in await asyncio.gather(*tasks)] == [0, 2, 4]
    assert bench.batcher.wait == 0


@bench_test
async def test_in_an_overload_the_queue_is_held_short_until_it_is_over() -> None:
    bench = Bench(max_batch=1, image_seconds=0.1, target_wait=1.0)
    tasks = [bench.submit(item) for item in range(11)]
    await settle()
    with pytest.raises(Overloaded, match=r"the wait would be 1\.1 s, longer than the 1 s"):
        bench.batcher.check_room()
    for waiting in (10, 9, 8, 7, 6, 5):
        await bench.clock.advance(0.1)
        await bench.model.finish()
        assert bench.batcher.wait == pytest.approx(waiting / 10)
        with pytest.raises(Overloaded, match=r"longer than the 0\.4 s allowed"):
            bench.batcher.check_room()
    for _ in range(2):
        await bench.clock.advance(0.1)
        await bench.model.finish()
        bench.batcher.check_room()
    tasks += [bench.submit(item) for item in (11, 12)]
    await settle()
    with pytest.raises(Overloaded, match=r"longer than the 0\.4 s allowed"):
        bench.batcher.check_room()
    for _ in range(3):
        await bench.clock.advance(0.1)
        await bench.model.finish()
    bench.batcher.check_room()
    # The overload is over: the next burst may fill the queue again.
    tasks += [bench.submit(item) for item in range(13, 20)]
    await settle()
    assert bench.batcher.wait == pytest.approx(0.9)
    bench.batcher.check_room()
    for _ in range(9):
        await bench.clock.advance(0.1)
        await bench.model.finish()
    assert [answer.result for answer in await asyncio.gather(*tasks)] == [2 * i for i in range(20)]


@bench_test
async def test_an_idle_batcher_is_not_overloaded() -> None:
    bench = Bench(max_batch=1, image_seconds=0.5, target_wait=1.0)
    tasks = [bench.submit(item) for item in range(3)]
    await settle()
    with pytest.raises(Overloaded):
        bench.batcher.check_room()
    for _ in range(3):
        await bench.clock.advance(0.5)
        await bench.model.finish()
    await asyncio.gather(*tasks)
    bench.batcher.check_room()
    running = [bench.submit(item) for item in range(2)]
    await settle()
    bench.batcher.check_room()
    for _ in range(2):
        await bench.clock.advance(0.5)
        await bench.model.finish()
    await asyncio.gather(*running)


@bench_test
async def test_an_item_that_would_miss_its_deadline_is_refused_at_once() -> None:
    bench = Bench(max_batch=1, image_seconds=0.5)
    task = bench.submit(1)
    await settle()
    bench.batcher.check_room(1, deadline=1.1)
    with pytest.raises(Overloaded, match="longer than the deadline"):
        bench.batcher.check_room(1, deadline=0.9)
    with pytest.raises(Overloaded, match="longer than the deadline"):
        bench.batcher.check_room(3, deadline=1.1)
    await bench.model.finish()
    await task


@bench_test
async def test_the_images_of_one_request_do_not_wait_for_each_other() -> None:
    bench = Bench(image_seconds=1.0, target_wait=2.0)
    with bench.batcher.reserve(32):
        assert bench.batcher.wait == pytest.approx(32)


@bench_test
async def test_a_failed_batch_does_not_change_the_estimate() -> None:
    bench = Bench(max_batch=1, image_seconds=0.25)
    bench.model.poison.add(1)
    task = bench.submit(1)
    await bench.clock.advance(5)
    await bench.model.finish()
    with pytest.raises(InferenceFailed):
        await task
    assert bench.batcher.image_seconds == 0.25
    assert bench.batcher.wait == 0


@bench_test
async def test_a_stalled_batch_does_not_block_the_batcher_forever() -> None:
    """As after `docker pause`: one batch took ten minutes, the next ones take 50 ms."""
    bench = Bench(max_batch=1, target_wait=2.0)
    for seconds in (600, *[0.05] * 60):
        task = bench.submit(1, deadline=bench.clock.now + 700)
        await bench.clock.advance(seconds)
        await bench.model.finish()
        assert (await task).result == 2
        if seconds == 600:
            assert bench.batcher.image_seconds == 600
            bench.batcher.check_room(deadline=bench.clock.now + 30)
    assert bench.batcher.image_seconds < 2
    running = bench.submit(1)
    await settle()
    bench.batcher.check_room(deadline=bench.clock.now + 30)
    await bench.model.finish()
    await running


@bench_test
async def test_a_hanging_worker_delays_only_its_own_batch() -> None:
    bench = Bench(max_batch=1, workers=2)
    hanging = bench.submit(1, deadline=5.0)
    await settle()
    for item in (2, 3, 4):
        task = bench.submit(item)
        await bench.clock.advance(0.5)
        await bench.model.finish(1)
        assert (await task).result == 2 * item
    await bench.clock.advance(5.0)
    with pytest.raises(Timeout):
        await hanging
    assert bench.batcher.wait == pytest.approx(bench.batcher.image_seconds), "it still runs"
    await bench.model.finish()
    assert bench.batcher.wait == 0


@bench_test
async def test_a_worker_that_failed_takes_the_next_batch_normally() -> None:
    bench = Bench(max_batch=1, workers=2)
    bench.model.poison = {1}
    tasks = [bench.submit(item) for item in (1, 2, 3, 4)]
    await settle()
    for _ in range(4):
        await bench.model.finish()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r.result if isinstance(r, Answer) else type(r) for r in results] == [
        InferenceFailed, 4, 6, 8,
    ]  # fmt: skip
    assert bench.model.most_busy == 2


@bench_test
async def test_the_tiles_of_an_image_count_in_the_wait_of_other_images() -> None:
    bench = Bench(image_seconds=0.5, target_wait=2.0, queue_limit=100)
    with bench.batcher.reserve(1) as places:
        bench.batcher.check_room()
        places.extend(9)
        assert bench.batcher.wait == pytest.approx(5)
        with pytest.raises(Overloaded, match=r"the wait would be 5\.0 s"):
            bench.batcher.check_room()
        places.extend(1)
    assert bench.batcher.wait == 0


@bench_test
async def test_while_the_cost_is_unknown_only_the_queue_is_a_limit() -> None:
    bench = Bench(max_batch=1, target_wait=0.001, queue_limit=50)
    with bench.batcher.reserve(49):
        bench.batcher.check_room(deadline=0.001)
        with pytest.raises(Overloaded, match="is full"):
            bench.batcher.check_room(2)


@bench_test
async def test_a_batch_in_hand_begins_at_once_and_its_wait_counts_as_queue_time() -> None:
    bench = Bench(max_batch=1)
    tasks = [bench.submit(item) for item in (1, 2, 3)]
    await bench.clock.advance(0.5)
    bench.model.end()
    assert bench.model.batches == [[1], [2]], "the event loop has not run since"
    bench.clock.now += 0.25
    bench.model.end()
    await settle()
    assert bench.model.batches == [[1], [2], [3]]
    await bench.model.finish()
    answers = [await task for task in tasks]
    assert [answer.queued for answer in answers] == [0.0, 0.5, 0.75]
    assert answers[1].inference == 0.25


@bench_test
async def test_items_in_hand_wait() -> None:
    sizes: list[int] = []
    bench = Bench(max_batch=1, image_seconds=0.5, queue_limit=2, on_batch=sizes.append)
    tasks = [bench.submit(1)]
    await settle()
    tasks += [bench.submit(item) for item in (2, 3)]
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    assert (bench.batcher.depth, sizes) == (2, [1])
    assert bench.batcher.wait == pytest.approx(1.5)
    with pytest.raises(Overloaded, match="queue of 2 images is full"):
        bench.batcher.check_room()
    bench.model.end()
    assert (bench.batcher.depth, sizes) == (1, [1, 1])
    await settle()
    assert bench.batcher.wait == pytest.approx(2 * bench.batcher.image_seconds)
    for _ in range(2):
        await bench.model.finish()
    await asyncio.gather(*tasks)


@bench_test
async def test_an_item_in_hand_whose_deadline_passes_is_not_inferred() -> None:
    bench = Bench(max_batch=1)
    running = bench.submit(1)
    await settle()
    late, stays = bench.submit(2, deadline=1.0), bench.submit(3)
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    await bench.clock.advance(1.0)
    with pytest.raises(Timeout):
        await late
    bench.model.end()
    assert bench.model.batches == [[1], [3]]
    await settle()
    await bench.model.finish()
    assert [(await each).result for each in (running, stays)] == [2, 6]


@bench_test
async def test_an_item_in_hand_is_not_inferred_after_its_deadline_if_the_event_loop_is_late() -> (
    None
):
    bench = Bench(max_batch=1)
    running = bench.submit(1)
    await settle()
    late = bench.submit(2, deadline=1.0)
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    bench.clock.now = 1.5
    bench.model.end()
    assert bench.model.batches == [[1]], "its timer has not been called"
    await settle()
    with pytest.raises(Timeout):
        await late
    assert (await running).result == 2
    assert bench.batcher.depth == 0


@bench_test
async def test_an_item_in_hand_whose_client_leaves_is_not_inferred() -> None:
    bench = Bench(max_batch=1)
    running, gone, stays = bench.submit(1), bench.submit(2), bench.submit(3)
    await settle()
    gone.cancel()
    await settle()
    bench.model.end()
    assert bench.model.batches == [[1], [3]]
    await settle()
    await bench.model.finish()
    assert [(await each).result for each in (running, stays)] == [2, 6]


@bench_test
async def test_any_worker_takes_a_batch_in_hand() -> None:
    bench = Bench(max_batch=1, workers=2)
    tasks = [bench.submit(item) for item in range(5)]
    await settle()
    assert len(bench.model.threads.in_hand) == 2
    # The second worker is fast; it never waits for a batch that the first one could have.
    for begun in (3, 4, 5):
        bench.model.end(1)
        assert len(bench.model.batches) == begun
        await settle()
    assert bench.model.batches == [[0], [1], [2], [3], [4]]
    for _ in range(2):
        await bench.model.finish()
    assert [(await task).result for task in tasks] == [0, 2, 4, 6, 8]


@bench_test
async def test_a_batch_in_hand_grows_until_it_begins() -> None:
    bench = Bench(max_batch=4, max_wait=1.0)
    tasks = [bench.submit(1)]
    await settle()
    tasks.append(bench.submit(2))
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    tasks += [bench.submit(item) for item in (3, 4)]
    await settle()
    bench.model.end()
    assert bench.model.batches == [[1], [2, 3, 4]]
    await settle()
    await bench.model.finish()
    await asyncio.gather(*tasks)


@bench_test
async def test_a_batch_in_hand_waits_for_an_item_that_is_being_prepared() -> None:
    bench = Bench(max_batch=4, max_wait=1.0)
    tasks = [bench.submit(1)]
    await settle()
    tasks.append(bench.submit(2))
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    with bench.batcher.reserve(1) as places:
        await bench.model.finish()
        assert bench.model.batches == [[1]], "as if it had not been in hand"
        tasks.append(asyncio.create_task(places.submit(3, NEVER)))
        await settle()
        assert bench.model.batches == [[1], [2, 3]]
        await bench.model.finish()
        await asyncio.gather(*tasks)


@bench_test
async def test_a_batch_in_hand_begins_when_it_has_waited_long_enough() -> None:
    bench = Bench(max_batch=4, max_wait=1.0)
    tasks = [bench.submit(1)]
    await settle()
    tasks.append(bench.submit(2))
    await settle()
    with bench.batcher.reserve(1):
        bench.clock.now += 1.0
        bench.model.end()
        assert bench.model.batches == [[1], [2]], "the event loop has not run since"
        await settle()
        await bench.model.finish()
        await asyncio.gather(*tasks)


@bench_test
async def test_a_batch_is_in_hand_as_soon_as_it_has_waited_long_enough() -> None:
    bench = Bench(max_batch=4, max_wait=1.0)
    tasks = [bench.submit(1)]
    await settle()
    with bench.batcher.reserve(1):
        tasks.append(bench.submit(2))
        await settle()
        assert bench.model.threads.in_hand == []
        await bench.clock.advance(1.0)
        assert len(bench.model.threads.in_hand) == 1
        for _ in range(2):
            await bench.model.finish()
        await asyncio.gather(*tasks)


@bench_test
async def test_draining_finishes_the_batches_in_hand() -> None:
    bench = Bench(max_batch=1)
    tasks = [bench.submit(1), bench.submit(2)]
    await settle()
    drain = asyncio.create_task(bench.batcher.drain())
    bench.model.end()
    assert bench.model.batches == [[1], [2]]
    await settle()
    assert not drain.done()
    await bench.model.finish()
    await drain
    assert [(await task).result for task in tasks] == [2, 4]


@bench_test
async def test_the_items_of_a_failed_batch_wait_only_for_what_was_in_hand() -> None:
    bench = Bench(max_batch=2)
    bench.model.poison = {1}
    tasks = [bench.submit(item) for item in range(1, 9)]
    await settle()
    for _ in range(6):
        await bench.model.finish()
    assert bench.model.batches == [[1, 2], [3, 4], [1], [2], [5, 6], [7, 8]]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r.result if isinstance(r, Answer) else type(r) for r in results] == [
        InferenceFailed, 4, 6, 8, 10, 12, 14, 16,
    ]  # fmt: skip


@bench_test
async def test_an_item_that_waits_to_be_tried_again_is_not_if_its_client_leaves() -> None:
    bench = Bench(max_batch=2)
    bench.model.poison = {1}
    tasks = [bench.submit(item) for item in range(1, 5)]
    await settle()
    await bench.model.finish()
    assert bench.model.batches == [[1, 2], [3, 4]]
    tasks[0].cancel()
    await settle()
    await bench.model.finish()
    await bench.model.finish()
    assert bench.model.batches == [[1, 2], [3, 4], [2]]
    assert [(await task).result for task in tasks[1:]] == [4, 6, 8]


@bench_test
async def test_items_are_answered_if_inference_fails_before_it_takes_them() -> None:
    failures: list[Exception] = []

    async def infer(take: Take[int]) -> list[int]:
        raise RuntimeError("cannot schedule new futures after shutdown")

    batcher: Batcher[int, int] = Batcher(infer, FakeClock(), on_failure=failures.append)
    with batcher.reserve(2) as places:
        submitted = [places.submit(item, NEVER) for item in (1, 2)]
        results = await asyncio.gather(*submitted, return_exceptions=True)
    assert [type(result) for result in results] == [InferenceFailed] * 2
    assert len(failures) == 3, "together, and each alone"
    await settle()
    await batcher.drain()


@bench_test
async def test_a_call_that_is_cancelled_in_hand_keeps_its_items_in_the_queue() -> None:
    bench = Bench(max_batch=1)
    tasks = [bench.submit(1), bench.submit(2)]
    await settle()
    (in_hand,) = bench.model.threads.in_hand
    in_hand.worker.cancel()
    await settle()
    assert in_hand.take() == []
    for _ in range(2):
        await bench.model.finish()
    assert bench.model.batches == [[1], [2]]
    assert [(await task).result for task in tasks] == [2, 4]


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
            infer=lambda take: loop.run_in_executor(pool, work, take),
            clock=LoopClock(),
            max_batch=max_batch,
            queue_limit=4000,
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
