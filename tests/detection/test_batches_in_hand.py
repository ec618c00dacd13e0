"""A worker has its next batch in hand, and nothing is lost or inferred too late by that."""

import asyncio

import pytest

from detection.batch import Answer, Take
from detection.batcher import Batcher
from detection.errors import InferenceFailed, Overloaded, Timeout
from tests.detection.batching import NEVER, Bench, FakeClock, bench_test, settle


async def one_in_hand(bench: Bench) -> list[asyncio.Task[Answer[int]]]:
    """Submit 1, which is inferred, and 2, which waits in hand."""
    tasks = [bench.submit(1)]
    await settle()
    tasks.append(bench.submit(2))
    await settle()
    assert len(bench.model.threads.in_hand) == 1
    return tasks


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
    assert bench.batcher.wait == pytest.approx(2 * bench.batcher.admission.image_seconds)
    await bench.finish(2)
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
    await bench.finish(2)
    assert [(await task).result for task in tasks] == [0, 2, 4, 6, 8]


@bench_test
async def test_a_batch_in_hand_grows_until_it_begins() -> None:
    bench = Bench(max_batch=4, max_wait=1.0)
    tasks = await one_in_hand(bench)
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
    tasks = await one_in_hand(bench)
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
    tasks = await one_in_hand(bench)
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
        await bench.finish(2)
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
    await bench.finish(6)
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
async def test_an_item_that_left_before_its_batch_failed_takes_no_turn() -> None:
    bench = Bench(max_batch=2)
    bench.model.poison = {2}
    tasks = [bench.submit(item) for item in range(1, 5)]
    await settle()
    tasks[0].cancel()
    await bench.model.finish()
    assert bench.model.batches == [[1, 2], [3, 4]]
    bench.model.end()
    assert bench.model.batches == [[1, 2], [3, 4], [2]], "the event loop has not run since"
    await bench.finish(1)
    with pytest.raises(InferenceFailed):
        await tasks[1]
    assert [(await task).result for task in tasks[2:]] == [6, 8]


@bench_test
async def test_items_are_answered_if_inference_fails_before_it_takes_them() -> None:
    failures: list[Exception] = []

    async def infer(take: Take[int], alone: bool) -> list[int]:
        raise RuntimeError("cannot schedule new futures after shutdown")

    batcher: Batcher[int, int] = Batcher(infer, FakeClock(), on_failure=failures.append)
    with batcher.reserve(2) as places:
        submitted = [places.submit(item, NEVER) for item in (1, 2)]
        results = await asyncio.gather(*submitted, return_exceptions=True)
    assert [type(result) for result in results] == [InferenceFailed] * 2
    assert len(failures) == 3, "together, and each by itself"
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
    await bench.finish(2)
    assert bench.model.batches == [[1], [2]]
    assert [(await task).result for task in tasks] == [2, 4]
