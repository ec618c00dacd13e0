"""With `runs_alone`, an item that is the only one is inferred beside no other."""

import asyncio

import pytest

from detection.errors import InferenceFailed
from tests.detection.batching import NEVER, Bench, bench_test, settle


def bench(**options: object) -> Bench:
    return Bench(**({"max_batch": 1, "workers": 2, "runs_alone": True} | options))


@bench_test
async def test_an_item_without_company_runs_alone_and_the_next_ones_wait_for_it() -> None:
    given = bench()
    tasks = [given.submit(1)]
    await settle()
    tasks += [given.submit(item) for item in (2, 3)]
    await settle()
    assert (given.model.batches, given.model.alone) == ([[1]], [True])
    await given.model.finish()
    assert given.model.batches == [[1], [2], [3]]
    assert given.model.alone == [True, False, False]
    assert given.model.busy == 2
    await given.finish(2)
    assert [(await task).result for task in tasks] == [2, 4, 6]


@bench_test
async def test_items_of_one_request_share_the_workers() -> None:
    given = bench()
    with given.batcher.reserve(2) as places:
        tasks = [asyncio.create_task(places.submit(item, NEVER)) for item in (1, 2)]
        await settle()
        assert given.model.alone == [False, False]
        await given.finish(2)
        await asyncio.gather(*tasks)


@bench_test
async def test_an_item_does_not_run_alone_while_another_is_being_prepared() -> None:
    given = bench()
    with given.batcher.reserve(1):
        task = given.submit(1)
        await settle()
        assert given.model.alone == [False]
    await given.model.finish()
    await task


@bench_test
async def test_an_item_that_comes_before_it_begins_does_not_join_it() -> None:
    given = bench(max_batch=2)
    tasks = [given.submit(item) for item in (1, 2)]
    await settle()
    assert (given.model.batches, given.model.alone) == ([[1]], [True])
    await given.model.finish()
    assert (given.model.batches, given.model.alone) == ([[1], [2]], [True, True])
    await given.model.finish()
    await asyncio.gather(*tasks)


@bench_test
async def test_an_item_that_fails_alone_holds_up_no_others() -> None:
    given = bench()
    given.model.poison = {1}
    failing = given.submit(1)
    await settle()
    later = [given.submit(item) for item in (2, 3)]
    await settle()
    await given.model.finish()
    assert (given.model.batches, given.model.busy) == ([[1], [2], [3]], 2)
    await given.finish(2)
    with pytest.raises(InferenceFailed):
        await failing
    assert [(await task).result for task in later] == [4, 6]


@bench_test
async def test_an_item_that_ran_alone_took_the_whole_machine() -> None:
    given = bench()
    task = given.submit(1)
    await given.finish(each_takes=0.5)
    await task
    assert given.batcher.admission.image_seconds == 0.5


@bench_test
async def test_an_item_that_ran_alone_only_lowers_what_an_item_of_a_queue_seems_to_cost() -> None:
    for known, learnt in ((0.1, 0.1), (1.0, 0.95)):
        given = bench(image_seconds=known)
        task = given.submit(1)
        await given.finish(each_takes=0.5)
        await task
        assert given.batcher.admission.image_seconds == pytest.approx(learnt)


@bench_test
async def test_without_the_option_no_item_runs_alone() -> None:
    given = bench(runs_alone=False)
    task = given.submit(1)
    await settle()
    assert given.model.alone == [False]
    await given.model.finish()
    await task
