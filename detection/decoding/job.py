"""The state of one task: who waits for it, and what it has used."""

import threading
import time
from dataclasses import dataclass, field

from detection.errors import Timeout

TICK_S = 0.05
"""How often a task that runs or waits long is looked at."""


@dataclass(eq=False, slots=True)
class Job:
    """A task's time limit, and whether its caller still waits for it."""

    expires: float = float("inf")
    """A time of `time.monotonic`."""
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the caller no longer waits."""
    used: float = 0.0
    """CPU seconds so far."""
    evicted: bool = False
    """Whether it has to make room for others."""

    def begin(self) -> None:
        """Forget what an earlier try has used."""
        self.used, self.evicted = 0.0, False

    def check(self) -> None:
        """Raise Timeout if nobody waits for the result any more."""
        if self.over.is_set() or time.monotonic() >= self.expires:
            raise Timeout("the deadline of the request passed")

    def acquire(self, semaphore: threading.Semaphore) -> None:
        """Wait for a semaphore. Raises Timeout if nobody waits for the result any more."""
        while not semaphore.acquire(timeout=TICK_S):
            self.check()
