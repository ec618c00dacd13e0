"""The batcher predicts the wait, and refuses what would wait too long."""

import asyncio

import pytest

from detection.batch import Answer
from detection.errors import InferenceFailed, Overloaded, Timeout
from tests.detection.batching import Bench, bench_test, settle, submit_tiles


@bench_test
async def test_the_cost_of_an_item_is_learnt_from_the_batches() -> None:
    bench = Bench(max_batch=1, workers=2)
    assert bench.batcher.admission.image_seconds == 0
    for _ in range(2):
        task = bench.submit(1)
        await bench.clock.advance(0.5)
        await bench.model.finish()
        await task
    assert bench.batcher.admission.image_seconds == pytest.approx(0.25), "of both workers together"


@bench_test
async def test_an_item_that_would_wait_too_long_is_refused_at_once() -> None:
    bench = Bench(max_batch=1, image_seconds=0.5, target_wait=1.2)
    tasks = [bench.submit(item) for item in range(3)]
    await settle()
    assert bench.batcher.wait == pytest.approx(1.5), "one is in inference, two wait"
    with pytest.raises(Overloaded, match=r"the wait would be 1\.5 s, longer than the 1\.2 s") as e:
        bench.batcher.check_room()
    assert e.value.retry_after_s == 2
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
        await bench.finish(each_takes=0.1)
        assert bench.batcher.wait == pytest.approx(waiting / 10)
        with pytest.raises(Overloaded, match=r"longer than the 0\.4 s allowed"):
            bench.batcher.check_room()
    for _ in range(2):
        await bench.finish(each_takes=0.1)
        bench.batcher.check_room()
    tasks += [bench.submit(item) for item in (11, 12)]
    await settle()
    with pytest.raises(Overloaded, match=r"longer than the 0\.4 s allowed"):
        bench.batcher.check_room()
    await bench.finish(3, each_takes=0.1)
    bench.batcher.check_room()
    # The overload is over: the next burst may fill the queue again.
    tasks += [bench.submit(item) for item in range(13, 20)]
    await settle()
    assert bench.batcher.wait == pytest.approx(0.9)
    bench.batcher.check_room()
    await bench.finish(9, each_takes=0.1)
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
async def test_items_that_miss_their_deadline_by_themselves_are_refused_by_an_idle_batcher() -> (
    None
):
    bench = Bench(max_batch=1, image_seconds=0.5, queue_limit=100)
    bench.batcher.check_room(32, deadline=16.0)
    with pytest.raises(Overloaded, match=r"32 inputs would take 16\.0 s, longer than") as refused:
        bench.batcher.check_room(32, deadline=15.0)
    assert refused.value.retry_after_s == 1
    # One item corrects a prediction that is wrong.
    bench.batcher.check_room(1, deadline=0.1)
    with bench.batcher.reserve(1, deadline=15.0) as places:
        with pytest.raises(Overloaded, match=r"58 inputs would take 29\.0 s"):
            places.extend(57, deadline=15.0)
        assert bench.batcher.depth == 1
        places.extend(29, deadline=15.0)
        assert bench.batcher.depth == 30
    with bench.batcher.reserve(10), bench.batcher.reserve(1, deadline=10.0) as places:
        with pytest.raises(Overloaded, match=r"the wait would be 5\.0 s, longer than the deadline"):
            places.extend(10, deadline=10.0)
        places.extend(9, deadline=10.0)


@bench_test
async def test_several_items_are_accepted_soon_after_a_stall() -> None:
    bench = Bench(max_batch=1, image_seconds=0.05)
    for seconds in (0.05, 600):
        task = bench.submit(1)
        await bench.clock.advance(seconds)
        await bench.model.finish()
        await task
    assert bench.batcher.admission.image_seconds > 30
    bench.batcher.check_room(32, deadline=bench.clock.now + 30)
    with pytest.raises(Overloaded):
        bench.batcher.check_room(32, deadline=bench.clock.now + 1)


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
    assert bench.batcher.admission.image_seconds == 0.25
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
            assert bench.batcher.admission.image_seconds == 600
            bench.batcher.check_room(deadline=bench.clock.now + 30)
    assert bench.batcher.admission.image_seconds < 2
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
    cost = bench.batcher.admission.image_seconds
    assert bench.batcher.wait == pytest.approx(cost), "it still runs"
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
async def test_tiles_that_are_held_back_count_only_in_the_wait_of_other_tiles() -> None:
    bench = Bench(max_batch=1, image_seconds=0.25, target_wait=2.0, queue_limit=100)
    tiled = asyncio.create_task(submit_tiles(bench, range(20)))
    await settle()
    assert bench.batcher.depth == 19
    assert bench.batcher.wait == pytest.approx(0.5), "one tile is in inference, one waits"
    bench.batcher.check_room(deadline=0.8)
    with pytest.raises(Overloaded, match=r"the wait would be 5\.0 s, longer than the 2 s"):
        bench.batcher.check_room(at_once=False)
    # That was no overload of the others.
    with bench.batcher.reserve(6):
        bench.batcher.check_room()
    tiled.cancel()
    await settle()
    await bench.model.finish()
    assert bench.batcher.wait == 0


@bench_test
async def test_while_the_cost_is_unknown_only_the_queue_is_a_limit() -> None:
    bench = Bench(max_batch=1, target_wait=0.001, queue_limit=50)
    with bench.batcher.reserve(49):
        bench.batcher.check_room(deadline=0.001)
        with pytest.raises(Overloaded, match="is full"):
            bench.batcher.check_room(2)


@bench_test
async def test_a_refused_client_is_told_when_the_overload_will_let_it_in() -> None:
    bench = Bench(max_batch=1, image_seconds=0.5, target_wait=2.0)
    tasks = [bench.submit(item) for item in range(5)]
    await settle()
    with pytest.raises(Overloaded, match=r"the wait would be 2\.5 s, longer than the 2 s") as e:
        bench.batcher.check_room()
    # Then 0.5 s are left, and an overload lets in what waits for 0.8 s. After 1 s it would not.
    assert e.value.retry_after_s == 2
    for _ in range(5):
        await bench.model.finish()
    await asyncio.gather(*tasks)
