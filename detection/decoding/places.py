"""Which tasks run, and which make room for others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from detection.decoding.job import Job
from detection.errors import OutOfMemory

NICENESS = ((0.25, 5), (1.0, 10), (3.0, 19))
"""After so many CPU seconds a task is slow and runs at such a priority: on a busy machine 5 is a
third of the usual share, 10 a tenth, 19 a seventieth. A photograph of 24 megapixels takes 0.2."""
QUICK_S = NICENESS[0][0]
MOST_SLOW = 4
"""Most slow tasks that leave their place to others."""
PATIENCE_S = 2.0
"""A slow task that has used more CPU seconds is stopped if others wait and have no place."""
LARGE_LINE = 16
"""Most tasks that wait for their turn to use a lot of memory."""
STALL_S = 10.0
"""A task that waits longer than this while no other one ends means that something is wrong."""


def niceness(used: float) -> int:
    """The priority of a task that has used so many CPU seconds."""
    return max((level for limit, level in NICENESS if used > limit), default=0)


@dataclass(eq=False, slots=True)
class Place:
    """A place among the quick tasks, until the task gives way or ends."""

    _quick: threading.Semaphore
    is_slow: bool = False
    has_left: bool = False

    def leave(self) -> None:
        """Leave the place, if not done before."""
        if not self.has_left:
            self.has_left = True
            self._quick.release()


@dataclass(eq=False)
class Places:
    """`width` places for quick tasks, MOST_SLOW for slow ones, and one for a large one.

    Thread-safe.
    """

    width: int
    _quick: threading.Semaphore = field(init=False)
    _large: threading.Semaphore = field(init=False)
    _line: threading.Semaphore = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: dict[Job, float] = field(default_factory=dict)
    _beyond: set[Job] = field(default_factory=set)
    """The tasks that turned out to be slow."""
    _gone: int = 0
    """How many of them have left their place."""
    _progress: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._quick = threading.BoundedSemaphore(self.width)
        self._large = threading.BoundedSemaphore(1)
        self._line = threading.BoundedSemaphore(LARGE_LINE)

    @property
    def stalled(self) -> bool:
        """Whether tasks wait although none has ended for long."""
        with self._lock:
            oldest = min(self._waiting.values(), default=None)
        return oldest is not None and time.monotonic() - max(oldest, self._progress) > STALL_S

    @contextmanager
    def take(self, job: Job) -> Iterator[Place]:
        """Wait for a place among the quick tasks. Raises Timeout."""
        self._wait(job, self._quick)
        place = Place(self._quick)
        try:
            job.begin()
            job.check()
            yield place
        finally:
            with self._lock:
                self._progress = time.monotonic()
                self._beyond.discard(job)
                if place.has_left:
                    self._gone -= 1
            place.leave()

    @contextmanager
    def large(self, job: Job) -> Iterator[None]:
        """Wait until no other task uses a lot of memory. Raises Timeout or OutOfMemory."""
        if not self._line.acquire(blocking=False):
            raise OutOfMemory("too many large images at the same time; try again later")
        try:
            self._wait(job, self._large)
            try:
                yield
            finally:
                self._large.release()
        finally:
            self._line.release()

    def give_way(self, job: Job, place: Place) -> None:
        """Let the next task in, or stop the slowest one for those that wait. For a slow task."""
        with self._lock:
            place.is_slow = True
            self._beyond.add(job)
            if self._gone < MOST_SLOW:
                self._gone += 1
                place.leave()
            elif self._waiting:
                slowest = max(self._beyond, key=lambda each: each.used)
                slowest.evicted = slowest.used > PATIENCE_S

    def _wait(self, job: Job, semaphore: threading.Semaphore) -> None:
        with self._lock:
            self._waiting[job] = time.monotonic()
        try:
            job.acquire(semaphore)
        finally:
            with self._lock:
                del self._waiting[job]
