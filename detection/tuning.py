"""How many workers share the threads of a model, and how large its batches are: set, or measured.

On a CPU a batch often costs more than its images one by one, because it does not fit the cache;
and one worker for each core often does more than one worker with all of them. Both depend on the
model and the machine, so a few inferences at the start tell. An accelerator gains by batches.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detection.providers import PROVIDERS
from detection.session import Session
from detection.settings import DetectionSettings

BATCHES = (1, 2, 4, 8)
"""The sizes of batches that are tried."""
ACCELERATOR_BATCH = 8
BUDGET_S = 0.5
"""The time for the measurements of a start."""
WORTH = 0.97
"""A choice with more workers or a larger batch must cost at most this fraction of the best one
before it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an image with a number of workers and a batch size."""

    workers: int
    batch: int
    seconds: float
    """Seconds of the whole machine for one image: the inverse of the throughput."""

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.seconds * 1000:.1f} ms with {workers} at batch {self.batch}"


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
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Session, Plan]:
    """A session, and the plan for running it.

    Fixed settings are kept; for settings that are "auto", the fastest choice is taken. No new
    measurement begins after `budget` seconds. Raises StartError, with the reason, for a model that
    does not run.

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
    costs = _measure(settings, first, open_session, budget, clock)
    best = _best(costs)
    threads = _threads(settings, best.workers)
    # Open a new session: the old one keeps the memory of the largest batch that it has run.
    return open_session(threads, best.batch), Plan(
        best.workers, threads, best.batch, "measured: " + ", ".join(map(str, costs)), tuple(costs)
    )


def _best(costs: Sequence[Cost]) -> Cost:
    best = costs[0]
    for cost in costs[1:]:
        if cost.seconds < WORTH * best.seconds:
            best = cost
    return best


def _measure(
    settings: DetectionSettings,
    first: Session,
    open_session: Open,
    budget: float,
    clock: Callable[[], float],
) -> list[Cost]:
    """The cost of an image for each choice that the settings leave open, until the time is up.

    Tries each number of workers at the smallest batch, then the faster one with growing batches,
    until a larger batch is no longer faster.
    """
    batches = BATCHES if settings.max_batch == "auto" else (settings.max_batch,)
    choices = (1, settings.threads) if settings.workers == "auto" else (settings.workers,)
    sessions = {choices[0]: first}
    costs: list[Cost] = []
    end = clock() + budget

    def cost(workers: int, batch: int) -> Cost:
        session = sessions[workers]
        with ThreadPoolExecutor(workers) as pool:
            # The first run at a size allocates its memory.
            _seconds(session, pool, workers, batch, clock)
            seconds = min(_seconds(session, pool, workers, batch, clock) for _ in range(2))
        return Cost(workers, batch, seconds / (workers * batch))

    for workers in dict.fromkeys(choices):
        if workers not in sessions:
            sessions[workers] = open_session(_threads(settings, workers), max(batches))
        costs.append(cost(workers, batches[0]))
        if clock() > end:
            return costs
    for batch in batches[1:]:
        before = _best(costs)
        costs.append(cost(before.workers, batch))
        if clock() > end or costs[-1].seconds > before.seconds:
            break
    return costs


def _seconds(
    session: Session,
    pool: ThreadPoolExecutor,
    workers: int,
    batch: int,
    clock: Callable[[], float],
) -> float:
    """Seconds in which all workers run one batch each, at the same time."""
    started = clock()
    for done in [pool.submit(session.run_blank, batch) for _ in range(workers)]:
        done.result()
    return clock() - started


def _threads(settings: DetectionSettings, workers: int) -> int:
    return max(1, settings.threads // workers)
