"""The number of workers and the batch size: set values are used, the rest is measured."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from detection.errors import StartError
from detection.providers import ProviderName
from detection.session import Session
from detection.settings import DetectionSettings
from detection.tuning import Plan, tune

Costs = Callable[[int, int], float]


@dataclass
class FakeSession:
    """A session of a `Machine` with a number of threads."""

    provider: ProviderName
    threads: int
    run_blank: Callable[[int], None]
    lone: Any = None


class Machine:
    """Sessions whose batches take the milliseconds in `costs` for (threads, batch).

    The time is made up: batches that run between two looks at the clock run side by side.
    """

    def __init__(self, costs: Costs, provider: ProviderName = ProviderName.CPU) -> None:
        self.costs = costs
        self.provider = provider
        self.opened: list[tuple[int, int]] = []
        self.runs = 0
        self.now = self.longest = 0.0

    def clock(self) -> float:
        self.now += self.longest
        self.longest = 0.0
        return self.now

    def open(self, threads: int, max_batch: int) -> Session:
        self.opened.append((threads, max_batch))

        def run_blank(size: int) -> None:
            self.runs += 1
            self.longest = max(self.longest, self.costs(threads, size) / 1000)

        return cast(Session, FakeSession(self.provider, threads, run_blank))

    def tune(self, measure: bool = True, **settings: Any) -> Plan:
        given = DetectionSettings(**({"threads": 4} | settings))
        session, plan = tune(given, self.open, measure=measure, clock=self.clock)
        assert session.provider is self.provider
        assert cast(Any, session).threads == plan.threads
        lone = cast(Any, session.lone)
        assert plan.lone_threads == (lone.threads if lone else 0)
        return plan


def linear(threads: int, batch: int) -> float:
    """Neither batches nor workers gain anything."""
    return 20 * batch / threads


def superlinear(threads: int, batch: int) -> float:
    """Threads gain more by one image together than each by an image of its own."""
    return float(20 * batch / threads**1.2)


def test_where_workers_cost_more_one_worker_and_batches_of_one_are_chosen() -> None:
    machine = Machine(superlinear)
    plan = machine.tune()
    assert (plan.workers, plan.threads, plan.max_batch) == (1, 4, 1)
    assert plan.image_seconds == pytest.approx(0.02 / 4**1.2)


def test_where_workers_cost_the_same_there_are_several() -> None:
    """In the service they disturb each other less than the threads of one worker."""
    plan = Machine(linear).tune()
    assert (plan.workers, plan.max_batch) == (4, 1)


def test_more_workers_are_chosen_if_one_does_not_use_all_threads() -> None:
    plan = Machine(lambda threads, batch: 20 * batch / threads**0.5).tune()
    assert (plan.workers, plan.threads, plan.max_batch) == (4, 1, 1)


@pytest.mark.parametrize(("ratio", "workers"), [(1.11, 1), (1.09, 4)])
def test_more_workers_may_cost_a_tenth_more(ratio: float, workers: int) -> None:
    def costs(threads: int, batch: int) -> float:
        return batch * (20 if threads == 4 else 80 * ratio)

    plan = Machine(costs).tune()
    assert (plan.workers, plan.threads) == (workers, 4 // workers)


@pytest.mark.parametrize(
    ("settings", "lone"),
    [
        ({}, 4),
        ({"workers": 2}, 4),
        ({"workers": 2, "max_batch": 2}, 4),
        ({"workers": 1}, 0),
        ({"workers": 4, "threads": 1}, 0),
    ],
)
def test_a_lone_batch_has_the_threads_of_all_workers(settings: dict[str, Any], lone: int) -> None:
    plan = Machine(lambda threads, batch: 20 * batch**1.2 / threads**0.5).tune(**settings)
    assert plan.lone_threads == lone
    assert ("(4 for an image that is alone)" in str(plan)) == bool(lone)


def test_the_session_for_lone_batches_is_the_one_that_was_measured() -> None:
    machine = Machine(lambda threads, batch: 20 * batch**1.2 / threads**0.5)
    assert machine.tune().lone_threads == 4
    assert [threads for threads, _ in machine.opened] == [4, 1, 1]


def test_an_accelerator_has_no_session_for_lone_batches() -> None:
    plan = Machine(linear, ProviderName.CUDA).tune(workers=2)
    assert (plan.workers, plan.lone_threads) == (2, 0)


@pytest.mark.parametrize("slow", [(2, 1.5, 1, 1), (1, 1, 1.5, 1), (1, 1, 1, 1.5)])
def test_other_load_during_one_measurement_does_not_change_the_choice(
    slow: tuple[float, ...],
) -> None:
    """One worker seems slower than it is: at the start, in the first or in the second round."""
    factors = iter((*map(float, slow), 1.0, 1.0))

    def costs(threads: int, batch: int) -> float:
        return 20 * next(factors) if threads == 4 else 89

    plan = Machine(costs).tune(max_batch=1)
    assert [cost.workers for cost in plan.costs] == [1, 4]
    assert plan.workers == 1


def test_other_load_during_one_measurement_of_more_workers_does_not_change_the_choice() -> None:
    """As seen at a start: 104 ms with one worker, and 138 ms with two, which were faster."""
    runs = itertools.count()

    def costs(threads: int, batch: int) -> float:
        if threads == 2:
            return 104
        # Two rounds that allocate, then the first one that counts; two workers each.
        run = next(runs)
        return 2 * (120 if run < 4 else 138 if run < 6 else 95)

    assert Machine(costs).tune(threads=2, max_batch=1).workers == 2


def test_more_workers_are_measured_though_the_first_measurement_took_long() -> None:
    """As seen at a start: an image took 134 ms for once, which left no time."""
    slow = iter((1.0, 1.0, 1.4))
    machine = Machine(lambda threads, batch: 192 / threads * next(slow, 1) if threads == 2 else 180)
    plan = machine.tune(threads=2, max_batch=1)
    assert [cost.workers for cost in plan.costs] == [1, 2]
    assert plan.workers == 2


@pytest.mark.parametrize(
    ("first", "measured"),
    [(1, [(4, 3), (1, 4), (4, 1)]), (3, [(4, 3), (1, 3 * 4), (4, 1), (1, 4)])],
    ids=["clear while it allocates", "clear later"],
)
def test_a_gain_is_measured_again_in_turns(first: float, measured: list[tuple[int, int]]) -> None:
    runs: list[int] = []

    def costs(threads: int, batch: int) -> float:
        runs.append(threads)
        return float(20 / threads**0.5) * (first if 3 < len(runs) <= 7 else 1)

    assert Machine(costs).tune(max_batch=1).workers == 4
    turns = [(threads, len([*run])) for threads, run in itertools.groupby(runs)]
    assert turns == measured


def test_a_gain_over_a_disturbed_measurement_is_not_believed() -> None:
    slow = iter((1, 1, 1.6))
    machine = Machine(lambda threads, batch: 10 * next(slow, 1) if threads == 4 else 50)
    plan = machine.tune(max_batch=1)
    assert plan.workers == 1
    assert plan.costs[0].seconds == pytest.approx(0.01)


def test_a_gain_by_batches_is_not_believed_at_once_either() -> None:
    slow = iter((1, 1, 1.5))
    machine = Machine(lambda threads, batch: 20 * batch * (next(slow, 1) if batch == 1 else 1))
    plan = machine.tune(workers=1, threads=1)
    assert plan.max_batch == 1
    assert plan.costs[0].seconds == pytest.approx(0.02), "measured again too"


def test_a_batch_is_not_compared_with_workers_that_still_allocate() -> None:
    """They won in their first round; the first two are slower."""
    rounds = itertools.count()

    def costs(threads: int, batch: int) -> float:
        if threads == 4:
            return 5
        allocates = next(rounds) < 2 * 4
        return 10 * (batch if batch == 1 else batch * 1.05) * (1.3 if allocates else 1)

    plan = Machine(costs).tune()
    assert (plan.workers, plan.max_batch) == (4, 1)


def test_what_gains_nothing_is_measured_once() -> None:
    machine = Machine(lambda threads, batch: 20 * batch**1.15 / threads)
    plan = machine.tune(workers=1)
    assert plan.max_batch == 1
    assert machine.runs == 3 + 3


def test_a_large_batch_is_not_measured_at_its_size() -> None:
    sizes: list[int] = []

    def costs(threads: int, batch: int) -> float:
        sizes.append(batch)
        return float(20 * batch / threads**0.5)

    plan = Machine(costs).tune(max_batch=256)
    assert (plan.workers, plan.max_batch) == (4, 256)
    assert max(sizes) == 8
    assert plan.image_seconds == pytest.approx(0.005)


def test_more_workers_than_threads_are_not_all_run() -> None:
    machine = Machine(lambda threads, batch: 20 * batch**1.2 / threads)
    plan = machine.tune(workers=64, threads=2)
    assert (plan.workers, plan.threads, plan.max_batch) == (64, 1, 1)
    assert machine.runs == 2 * (3 + 3)


def test_what_has_lost_already_while_it_allocates_is_not_run_again() -> None:
    machine = Machine(lambda threads, batch: 20 * batch * batch / threads)
    plan = machine.tune(workers=1)
    assert plan.max_batch == 1
    assert machine.runs == 3 + 2
    assert "5.0 ms with 1 worker at batch 1, up to 10.0 ms with 1 worker" in plan.reason


@pytest.mark.parametrize(
    ("costs", "threads", "batch"),
    [
        (lambda threads, batch: 20 * batch**1.2 / threads**1.2, 4, 1),
        (lambda threads, batch: 20 * batch**1.2 / threads**0.5, 1, 1),
        (lambda threads, batch: (1 + 0.2 * batch) * 8 / threads**1.5, 4, 8),
    ],
    ids=["one worker", "more workers", "batches"],
)
def test_the_session_that_was_measured_is_kept(costs: Costs, threads: int, batch: int) -> None:
    """A session keeps the memory of what it has run, so each choice has one of its own."""
    machine = Machine(costs)
    session, plan = tune(
        DetectionSettings(threads=4), machine.open, measure=True, clock=machine.clock
    )
    assert (plan.threads, plan.max_batch) == (threads, batch)
    assert len(machine.opened) == len(plan.costs)
    before = machine.runs
    machine.costs = lambda threads, batch: threads
    session.run_blank(1)
    assert (machine.runs, machine.longest) == (before + 1, threads / 1000)


def test_other_work_of_the_start_ends_before_the_first_measurement_and_takes_none_of_its_time() -> (
    None
):
    machine = Machine(lambda threads, batch: 20 * batch / threads**0.5)
    runs: list[int] = []

    def wait() -> None:
        runs.append(machine.runs)
        machine.now += 5

    _, plan = tune(
        DetectionSettings(threads=4),
        machine.open,
        measure=True,
        before_measuring=wait,
        clock=machine.clock,
    )
    assert runs == [2]
    assert plan.workers == 4


def test_runs_that_were_disturbed_take_none_of_the_time() -> None:
    slow = iter((300, 300))
    machine = Machine(lambda threads, batch: next(slow, 20 * batch / threads**0.5))
    assert machine.tune().workers == 4


def test_a_larger_batch_is_forgotten_if_there_is_no_time_to_confirm_its_gain() -> None:
    machine = Machine(lambda threads, batch: 10 + 40 * batch)
    plan = machine.tune(workers=1)
    assert machine.runs == 3 + 3, "a batch of two was tried"
    assert plan.max_batch == 1
    assert "at batch 2" not in plan.reason


@pytest.mark.parametrize(("factor", "tried"), [(1.01, False), (0.99, True)])
@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 2)])
def test_a_larger_batch_is_not_tried_if_its_first_runs_would_end_too_late(
    workers: int, threads: int, factor: float, tried: bool
) -> None:
    # Three runs of one image, and then two runs of two images, would take the budget of 0.4 s.
    machine = Machine(lambda _, batch: 400 / 7 * factor * batch)
    plan = machine.tune(workers=workers, threads=threads)
    assert (machine.runs > 3 * min(workers, threads)) == tried
    assert plan.max_batch == 1


@pytest.mark.parametrize(("first", "runs"), [(1, 1), (3, 3)])
def test_more_workers_count_if_there_is_no_time_to_confirm_their_gain(
    first: float, runs: int
) -> None:
    allocating = iter([1.0] * 3 + [first] * 4)
    machine = Machine(lambda threads, batch: 300 * batch / threads**0.5 * next(allocating, 1))
    plan = machine.tune()
    assert plan.workers == 4
    assert machine.runs == 3 + runs * 4
    assert ("up to 75.0 ms with 4 workers" in plan.reason) == (runs == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_that_allocate_do_not_count(workers: int) -> None:
    counts = itertools.count()
    machine = Machine(lambda threads, batch: 15 if next(counts) < 2 * workers else 10)
    plan = machine.tune(workers=workers, max_batch="auto", threads=workers)
    assert plan.costs[0].seconds == pytest.approx(0.01 / workers)


def test_batches_are_chosen_if_they_are_faster() -> None:
    plan = Machine(lambda threads, batch: 10 + 2 * batch).tune(workers=1)
    assert (plan.workers, plan.max_batch) == (1, 8)
    assert "ms with 1 worker at batch 8" in plan.reason


def test_batches_stop_growing_when_they_gain_nothing() -> None:
    machine = Machine(lambda threads, batch: {1: 10, 2: 19.8, 4: 120, 8: 80}[batch])
    plan = machine.tune(workers=1)
    assert plan.max_batch == 1
    assert max(cost.batch for cost in plan.costs) == 4


def test_values_that_are_set_are_not_measured() -> None:
    machine = Machine(linear)
    plan = machine.tune(workers=2, max_batch=16)
    assert (plan.workers, plan.threads, plan.max_batch, plan.reason) == (2, 2, 16, "as set")
    assert machine.runs == 0


def test_one_of_the_two_can_be_set() -> None:
    plan = Machine(lambda threads, batch: 20 * batch / threads**0.5).tune(max_batch=2)
    assert (plan.workers, plan.max_batch) == (4, 2)
    assert {cost.batch for cost in plan.costs} == {2}


@pytest.mark.parametrize("provider", [ProviderName.CUDA, ProviderName.TENSORRT])
def test_an_accelerator_gets_batches_without_a_measurement(provider: ProviderName) -> None:
    machine = Machine(linear, provider)
    plan = machine.tune()
    assert (plan.workers, plan.max_batch, machine.runs) == (1, 8, 0)


@pytest.mark.parametrize(
    ("provider", "max_batch", "first"),
    [
        (ProviderName.OPENVINO, "auto", 1),
        (ProviderName.OPENVINO, 4, 4),
        (ProviderName.AUTO, "auto", 8),
        (ProviderName.CUDA, 16, 16),
    ],
)
def test_the_first_session_is_opened_for_the_batches_it_may_get(
    provider: ProviderName, max_batch: int | str, first: int
) -> None:
    """OpenVINO takes longer with a session for larger batches."""
    machine = Machine(linear)
    settings = DetectionSettings.model_validate({"threads": 4, "max_batch": max_batch})
    tune(settings, machine.open, measure=True, provider=provider, clock=machine.clock)
    assert machine.opened[0] == (4, first)


def test_a_process_that_ends_soon_does_not_measure() -> None:
    machine = Machine(linear)
    plan = machine.tune(measure=False)
    assert (plan.workers, plan.max_batch, machine.runs) == (1, 1, 0)


def test_a_slow_model_is_measured_only_once() -> None:
    machine = Machine(lambda threads, batch: 200)
    plan = machine.tune()
    assert len(plan.costs) == 1
    assert machine.now == pytest.approx(0.6), "two first runs, and one that is measured"


def test_nothing_more_is_measured_if_no_time_is_left() -> None:
    machine = Machine(lambda threads, batch: 20 * batch / threads**0.5)
    _, plan = tune(
        DetectionSettings(threads=4), machine.open, measure=True, budget=0, clock=machine.clock
    )
    assert [(cost.workers, cost.batch) for cost in plan.costs] == [(1, 1)]


def test_openvino_is_measured_like_the_cpu_because_it_is_one() -> None:
    plan = Machine(lambda threads, batch: 10 + 2 * batch, ProviderName.OPENVINO).tune(workers=1)
    assert (plan.workers, plan.max_batch) == (1, 8)


def test_with_one_thread_only_batches_are_measured() -> None:
    plan = Machine(lambda threads, batch: 10 + 2 * batch).tune(threads=1)
    assert (plan.workers, plan.threads, plan.max_batch) == (1, 1, 8)
    assert [(cost.workers, cost.batch) for cost in plan.costs] == [(1, 1), (1, 2), (1, 4), (1, 8)]


def test_more_workers_than_threads_have_one_each() -> None:
    plan = Machine(linear).tune(workers=8, threads=2)
    assert (plan.workers, plan.threads) == (8, 1)


@pytest.mark.parametrize("workers", [1, "auto"])
def test_a_model_that_does_not_run_stops_the_measurement(workers: object) -> None:
    def fail(threads: int, batch: int) -> float:
        raise StartError("cells: the model does not run: out of memory")

    with pytest.raises(StartError, match="out of memory"):
        Machine(fail).tune(workers=workers)
