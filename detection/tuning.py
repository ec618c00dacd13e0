"""How many workers share the threads of a model, and how large its batches are: set, or measured.

On a CPU a batch often costs more than its images one by one, because it does not fit the cache;
and one worker for each core may do more than one worker with all of them. Both depend on the
model and the machine, so a few inferences at the start tell. An accelerator gains by batches.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from detection.providers import PROVIDERS, ProviderName
from detection.session import Session
from detection.settings import DetectionSettings

BATCHES = (1, 2, 4, 8)
"""The sizes of batches that are tried."""
ACCELERATOR_BATCH = 8
BUDGET_S = 0.4
"""No measurement of a start begins after this time."""
FEW_THREADS = 2
"""With so many threads, one worker has them all, unmeasured. On two cores, two workers answered up
to 24 % more images a second or 8 % fewer, as other load on the machine's memory changed, and one
client got 15 images a second instead of 25."""
MORE_WORKERS = 0.92
"""With more threads, more workers must cost less than this fraction of one. A single request gets
only one worker, so with more workers it has fewer threads. That is worth more than a few percent of
throughput, which noise may feign as well."""
LARGER_BATCH = 0.97
"""A larger batch must cost less than this fraction of the best smaller one."""
CLEAR = 1.05
"""A choice that costs more than this many times its bound is not measured again. A gain is, in
turns with the choice before it, so that it is not other load that decides."""
ALLOCATING = 2
"""Runs of a size that are not measured. onnxruntime allocates in the first one, and again in the
second one, by the pattern of the first."""
LOST = 1.3
"""A choice that costs more than this many times its bound in the best of these runs has lost, and
is not run again: the second one takes up to 1.3 times as long as those after it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an image with a number of workers and a batch size."""

    workers: int
    batch: int
    seconds: float
    """Seconds of the whole machine for one image: the inverse of the throughput."""
    at_most: bool = False
    """Whether it was measured while memory was allocated: the real cost is lower."""

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        most = "up to " if self.at_most else ""
        return f"{most}{self.seconds * 1000:.1f} ms with {workers} at batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is run, and why."""

    workers: int
    threads: int
    """Of each worker."""
    max_batch: int
    reason: str
    costs: tuple[Cost, ...] = ()
    """What was measured."""

    @property
    def image_seconds(self) -> float:
        """The cost of an image with this plan; 0 if it was not measured."""
        chosen = [c for c in self.costs if (c.workers, c.batch) == (self.workers, self.max_batch)]
        return chosen[0].seconds if chosen else 0.0


Open = Callable[[int, int], Session]
"""Opens the model with a number of threads and a largest batch."""


def tune(
    settings: DetectionSettings,
    open_session: Open,
    *,
    measure: bool,
    budget: float = BUDGET_S,
    before_measuring: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Session, Plan]:
    """A session, and the plan for running it.

    Fixed settings are kept. For settings that are "auto", one worker and batches of one image are
    taken unless more are faster by MORE_WORKERS or LARGER_BATCH. `before_measuring` is called when
    the model has run for the first times: it waits for other work of the start, which would
    disturb. No new measurement begins once undisturbed runs would have taken `budget` seconds.
    Raises StartError, with the reason, for a model that does not run.

    Without `measure`, or on an accelerator, "auto" is a rule: one worker, and batches of one image
    on a CPU, of several on an accelerator.
    """
    workers = 1 if settings.workers == "auto" else settings.workers
    is_fixed = settings.workers != "auto" and settings.max_batch != "auto"
    first = open_session(_threads(settings, workers), ACCELERATOR_BATCH)
    on_cpu = PROVIDERS[first.provider].on_cpu
    if is_fixed or not on_cpu or not measure:
        batch = 1 if on_cpu else ACCELERATOR_BATCH
        if settings.max_batch != "auto":
            batch = settings.max_batch
            if batch > ACCELERATOR_BATCH:
                first = open_session(_threads(settings, workers), batch)
        reason = "as set" if is_fixed else "not measured"
        return first, Plan(workers, _threads(settings, workers), batch, reason)
    costs, sessions = _measure(settings, first, open_session, budget, before_measuring, clock)
    best = _best(costs)
    reason = "measured: " + ", ".join(map(str, costs))
    threads = _threads(settings, best.workers)
    plan = Plan(best.workers, threads, best.batch, reason, tuple(costs))
    session = sessions[best.workers]
    if session.provider is not ProviderName.CPU:
        # It keeps the memory of the largest batch that it has run, and can't free it.
        session = open_session(threads, best.batch)
    return session, plan


def _bound(cost: Cost, best: Cost) -> float:
    """The seconds that a choice must stay below to be taken instead of the best one before it."""
    return best.seconds * (MORE_WORKERS if cost.workers > best.workers else LARGER_BATCH)


def _best(costs: Sequence[Cost]) -> Cost:
    best = costs[0]
    for cost in costs[1:]:
        if cost.seconds < _bound(cost, best):
            best = cost
    return best


@dataclass(frozen=True, slots=True)
class _Trial:
    """A session, and as many threads as it has workers."""

    session: Session
    workers: int
    pool: ThreadPoolExecutor
    clock: Callable[[], float]

    def allocate(self, batch: int) -> Cost:
        """Run a size for the first times; the least cost, which is somewhat too high."""
        return min((self.cost(batch) for _ in range(ALLOCATING)), key=lambda cost: cost.seconds)

    def settled(self, first: Cost, best: Cost | None = None) -> Cost:
        """The cost after the runs that allocate; no other run follows if `best` has won by now."""
        if best is not None and first.seconds > LOST * _bound(first, best):
            return replace(first, at_most=True)
        return self.cost(first.batch)

    def cost(self, batch: int) -> Cost:
        """The cost of an image if all workers run one batch each, at the same time."""
        started = self.clock()
        runs = [self.pool.submit(self.session.run_blank, batch) for _ in range(self.workers)]
        for done in runs:
            done.result()
        return Cost(self.workers, batch, (self.clock() - started) / (self.workers * batch))


def _measure(
    settings: DetectionSettings,
    first: Session,
    open_session: Open,
    budget: float,
    before_measuring: Callable[[], object],
    clock: Callable[[], float],
) -> tuple[list[Cost], dict[int, Session]]:
    """The cost of an image for each choice that the settings leave open, until the time is up.

    With them, the session for each number of workers.

    Tries each number of workers at the smallest batch, then the better one with growing batches,
    until a larger batch costs more.
    """
    batches = BATCHES if settings.max_batch == "auto" else (settings.max_batch,)
    choices = _worker_choices(settings)
    end = math.inf
    trials: dict[int, _Trial] = {}
    costs: list[Cost] = []

    def measure_again(before: Cost) -> None:
        """Measure the latest choice and the one before it again, unless the latest clearly lost.

        A gain that there is no time to confirm is forgotten.
        """
        latest = costs[-1]
        if latest.seconds > CLEAR * _bound(latest, before):
            return
        for known in (before, latest):
            if clock() > end:
                del costs[-1]
                return
            again = trials[known.workers].cost(known.batch)
            costs[costs.index(known)] = min(known, again, key=lambda cost: cost.seconds)

    def try_batches() -> None:
        for batch in batches[1:]:
            best = _best(costs)
            trial = trials[best.workers]
            costs.append(trial.settled(trial.allocate(batch), best))
            measure_again(best)
            if clock() > end or costs[-1].seconds > _best(costs[:-1]).seconds:
                return

    with ExitStack() as stack:
        for workers in dict.fromkeys(choices):
            session = open_session(_threads(settings, workers), max(batches)) if trials else first
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            trials[workers] = _Trial(session, workers, pool, clock)
            allocated = trials[workers].allocate(batches[0])
            if not costs:
                before_measuring()
                started = clock()
                costs.append(trials[workers].settled(allocated))
                # The runs before it took longer if they were disturbed; that must not count.
                run = clock() - started
                end = started + budget - ALLOCATING * run
            else:
                costs.append(trials[workers].settled(allocated, costs[0]))
                measure_again(costs[0])
            if clock() > end:
                break
        else:
            try_batches()
    return costs, {workers: trial.session for workers, trial in trials.items()}


def _worker_choices(settings: DetectionSettings) -> tuple[int, ...]:
    if settings.workers != "auto":
        return (settings.workers,)
    return (1,) if settings.threads <= FEW_THREADS else (1, settings.threads)


def _threads(settings: DetectionSettings, workers: int) -> int:
    return max(1, settings.threads // workers)
