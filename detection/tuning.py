"""How many workers share the threads of a model, and how large its batches are: set, or measured.

On a CPU a batch often costs more than its images one by one, because it does not fit the cache;
and one worker for each core may do more than one worker with all of them. Both depend on the
model and the machine, so a few inferences at the start tell. An accelerator gains by batches.

Several workers on a CPU have another session with all threads, for an image that is alone.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from detection.providers import PROVIDERS, ProviderName
from detection.session import Session
from detection.settings import DetectionSettings
from sfd.terminal import counted

BATCHES = (1, 2, 4, 8)
"""The sizes of batches that are tried. If a larger one is set, the largest of these is measured
instead, because a run could take minutes."""
ACCELERATOR_BATCH = 8
BUDGET_S = 0.4
"""No measurement of a start begins after this time, except that of more workers, and none of a
larger batch whose first runs alone would take longer than what is left of it."""
MOST_FOR_WORKERS = 0.5
"""More workers are measured even after BUDGET_S if an image takes less than this fraction of it."""
LARGER_BATCH = 0.97
"""A larger batch must cost less than this fraction of the best smaller one."""
MORE_WORKERS = 1.1
"""More workers may cost so many times as much as fewer ones: other work of the service disturbs
them less, since a thread that has to wait delays only its own image. On two cores, where both
cost about the same in these measurements, two workers answered 1.13 times as many images."""
CLEAR = 1.05
"""A choice that costs more than this many times its bound is not measured again, except once for
more workers. If there is time, a gain is measured again, in turns with the choice before it, so
that other load does not decide. If more workers win in their first run, only the choice before them
is measured again."""
ALLOCATING = 2
"""Runs of a size that cost too much, because onnxruntime allocates in the first one, and again in
the second one, by the pattern of the first. They decide only a clear loss, or that more workers
win."""
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
        workers = counted(self.workers, "worker")
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
    lone_threads: int = 0
    """Of an image that is alone, if it has more than a worker; otherwise 0."""
    costs: tuple[Cost, ...] = ()
    """What was measured."""

    def __str__(self) -> str:
        lone = f" ({self.lone_threads} for an image that is alone)" if self.lone_threads else ""
        return (
            f"workers {self.workers} with threads {self.threads} each{lone}, "
            f"batches of up to {self.max_batch} ({self.reason})"
        )

    @property
    def image_seconds(self) -> float:
        """The cost of an image with this plan, or a bound above it; 0 if it was not measured."""
        measured = (self.workers, min(self.max_batch, BATCHES[-1]))
        chosen = [c for c in self.costs if (c.workers, c.batch) == measured]
        return chosen[0].seconds if chosen else 0.0


Open = Callable[[int, int], Session]
"""Opens the model with a number of threads and a largest batch."""


def tune(
    settings: DetectionSettings,
    open_session: Open,
    *,
    measure: bool,
    provider: ProviderName = ProviderName.AUTO,
    budget: float = BUDGET_S,
    before_measuring: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Session, Plan]:
    """A session, with `lone` if there are several workers on a CPU, and the plan for running it.

    Fixed settings are kept. For settings that are "auto", one worker and batches of one image are
    taken unless more workers cost less than MORE_WORKERS times as much, or larger batches less
    than LARGER_BATCH times. `before_measuring` is called when the model has run for the first
    times: it waits for other work of the start, which would disturb. Once undisturbed runs would
    have taken `budget` seconds, no new measurement begins, except that of more workers if an image
    takes less than MOST_FOR_WORKERS of the budget. A larger batch is not tried if its first runs
    alone would take longer than what is left.
    Raises StartError, with the reason, for a model that does not run.

    Without `measure`, or on an accelerator, "auto" is a rule: one worker, and batches of one image
    on a CPU, of several on an accelerator.
    """
    workers = 1 if settings.workers == "auto" else settings.workers
    is_fixed = settings.workers != "auto" and settings.max_batch != "auto"
    first = open_session(_threads(settings, workers), _first_batch(settings, provider))
    on_cpu = PROVIDERS[first.provider].on_cpu
    if is_fixed or not on_cpu or not measure:
        batch = settings.max_batch
        if batch == "auto":
            batch = 1 if on_cpu else ACCELERATOR_BATCH
        reason = "as set" if is_fixed else "not measured"
        session, plan = first, Plan(workers, _threads(settings, workers), batch, reason)
    else:
        costs, session = _measure(settings, first, open_session, budget, before_measuring, clock)
        best = _best(costs)
        reason = "measured: " + ", ".join(map(str, costs))
        threads = _threads(settings, best.workers)
        batch = best.batch if settings.max_batch == "auto" else settings.max_batch
        plan = Plan(best.workers, threads, batch, reason, costs=tuple(costs))
    if not on_cpu or plan.threads == settings.threads:
        return session, plan
    # If the number of workers was measured, the first session has all threads.
    lone = first if settings.workers == "auto" else open_session(settings.threads, 1)
    return replace(session, lone=lone), replace(plan, lone_threads=settings.threads)


def _first_batch(settings: DetectionSettings, provider: ProviderName) -> int:
    """The largest batch of the session that is opened first.

    It is enough for an accelerator, unless `provider` is known to be none.
    """
    if settings.max_batch != "auto":
        return settings.max_batch
    is_cpu = provider is not ProviderName.AUTO and PROVIDERS[provider].on_cpu
    return 1 if is_cpu else ACCELERATOR_BATCH


def _bound(cost: Cost, best: Cost) -> float:
    """The seconds that a choice must stay below to be taken instead of the best one before it.

    An image that is alone loses nothing by more workers: it has the threads of all of them.
    """
    return best.seconds * (MORE_WORKERS if cost.workers > best.workers else LARGER_BATCH)


def _best(costs: Sequence[Cost]) -> Cost:
    best = costs[0]
    for cost in costs[1:]:
        if cost.seconds < _bound(cost, best):
            best = cost
    return best


@dataclass(frozen=True, slots=True)
class _Trial:
    """A choice, with a session of its own, and a thread that waits for each of its workers.

    The session of a choice that loses is closed.
    """

    workers: int
    batch: int
    threads: int
    """Of all workers together."""
    session: Session
    pool: ThreadPoolExecutor
    clock: Callable[[], float]

    def allocate(self) -> None:
        """Run for the first times."""
        for _ in range(ALLOCATING):
            self.cost()

    def settled(self, first: Cost, best: Cost) -> Cost:
        """The cost after the runs that allocate; no other run follows if `best` has won by now."""
        if first.seconds > LOST * _bound(first, best):
            return replace(first, at_most=True)
        return self.cost()

    def cost(self) -> Cost:
        """The cost of an image if all workers run one batch each, at the same time.

        If there are more workers than threads, only as many run as there are threads: an image
        costs the same.
        """
        run = partial(self.session.run_blank, self.batch)
        count = min(self.workers, self.threads)
        started = self.clock()
        runs = [self.pool.submit(run) for _ in range(count)]
        for done in runs:
            done.result()
        seconds = (self.clock() - started) / (count * self.batch)
        return Cost(self.workers, self.batch, seconds)


@dataclass
class _Contest:
    """The choices that were tried, in order, and the trial of the best one."""

    open: Callable[[int, int], _Trial]
    """Begins the trial of a number of workers and a batch size."""
    winner: _Trial
    costs: list[Cost]
    """Of the choices."""
    seconds_left: Callable[[], float]
    """Of the time for measurements."""

    @property
    def is_over(self) -> bool:
        """Whether no measurement should begin any more."""
        return self.seconds_left() < 0

    def has_time_for(self, batch: int) -> bool:
        """Whether what is left is enough for the first runs of a batch, at the winner's cost.

        Opening the session is not counted.
        """
        count = min(self.winner.workers, self.winner.threads) * batch
        return ALLOCATING * count * self.best.seconds < self.seconds_left()

    @property
    def best(self) -> Cost:
        """The cost of the winner."""
        return _best(self.costs)

    def attempt(self, workers: int, batch: int) -> bool:
        """Try a choice. Returns whether it is worthwhile to try a larger batch after it.

        More workers that are cheap enough in their first run have won, because later runs, which do
        not allocate, cost less; before that, the choice before them is measured again. Otherwise,
        unless the new choice clearly loses, both are measured again, in turns. If there is no time
        for that, a gain by workers counts, and one by a larger batch, which takes more memory, is
        forgotten. A loss by workers that was not clear while memory was allocated must be there
        twice: other load delays one of several workers more often than the only one.
        """
        trial = self.open(workers, batch)
        first = trial.cost()
        if workers > self.best.workers and self._has_won(first):
            self.costs.append(replace(first, at_most=True))
            self.winner = trial
            return True
        best = self.best
        latest = trial.settled(min(first, trial.cost(), key=_seconds), best)
        if workers > best.workers and not latest.at_most and latest.seconds >= _bound(latest, best):
            latest = min(latest, trial.cost(), key=_seconds)
        if latest.seconds <= CLEAR * _bound(latest, best) and not self.is_over:
            best = self._measure_again()
            latest = min(latest, trial.cost(), key=_seconds)
        elif latest.seconds < _bound(latest, best) and batch > best.batch:
            return False
        self.costs.append(latest)
        if self.best is latest:
            self.winner = trial
        return latest.seconds <= best.seconds

    def _has_won(self, first: Cost) -> bool:
        """Whether more workers are cheap enough in their first run, in which they allocate."""
        if first.seconds < _bound(first, self.best) and not self.is_over:
            self._measure_again()
        return first.seconds < _bound(first, self.best)

    def _measure_again(self) -> Cost:
        """Measure the winner once more; the best cost."""
        best = self.best
        if best.at_most:
            # It won in its first run, and its second one allocates, too.
            self.winner.cost()
        again = min(best, self.winner.cost(), key=_seconds)
        self.costs[self.costs.index(best)] = again
        return again


def _seconds(cost: Cost) -> float:
    return cost.seconds


def _measure(
    settings: DetectionSettings,
    first: Session,
    open_session: Open,
    budget: float,
    before_measuring: Callable[[], object],
    clock: Callable[[], float],
) -> tuple[list[Cost], Session]:
    """The costs of the choices that were tried until the time was up, and the best one's session.

    Tries each number of workers at the smallest batch, then the better one with growing batches,
    until a larger batch costs more.
    """
    batches = BATCHES if settings.max_batch == "auto" else (min(settings.max_batch, BATCHES[-1]),)
    fewest, *more = dict.fromkeys(_worker_choices(settings))
    with ExitStack() as stack:

        def begin(workers: int, batch: int, session: Session | None = None) -> _Trial:
            session = session or open_session(_threads(settings, workers), batch)
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            return _Trial(workers, batch, settings.threads, session, pool, clock)

        trial = begin(fewest, batches[0], first)
        trial.allocate()
        before_measuring()
        started = clock()
        cost = trial.cost()
        # The runs before it took longer if they were disturbed; that must not count.
        end = started + budget - ALLOCATING * (clock() - started)
        contest = _Contest(begin, trial, [cost], lambda: end - clock())
        for workers in more:
            if cost.seconds < MOST_FOR_WORKERS * budget or not contest.is_over:
                contest.attempt(workers, batches[0])
        for batch in batches[1:]:
            if not contest.has_time_for(batch):
                break
            if not contest.attempt(contest.best.workers, batch):
                break
    return contest.costs, contest.winner.session


def _worker_choices(settings: DetectionSettings) -> tuple[int, ...]:
    if settings.workers != "auto":
        return (settings.workers,)
    return 1, settings.threads


def _threads(settings: DetectionSettings, workers: int) -> int:
    return max(1, settings.threads // workers)
