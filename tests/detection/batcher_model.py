"""What the model of the batcher knows of requests, items and workers."""

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from detection.batch import Answer
from detection.batcher import Reservation
from tests.detection.batching import FakeCall


@dataclass(eq=False)
class Request:
    """An open reservation, and what the model says it holds."""

    context: AbstractContextManager[Reservation[int, int]]
    reservation: Reservation[int, int]
    unused: int
    later: int

    @property
    def begun(self) -> int:
        """Unused places whose item is being prepared."""
        return self.unused - self.later


@dataclass(eq=False)
class Item:
    """A submitted item; `outcome` is what its answer must be, None while it must wait."""

    number: int
    submitted: float
    deadline: float
    poisonous: bool
    task: asyncio.Task[Answer[int]]
    outcome: type[BaseException] | Answer[int] | None = None


@dataclass(eq=False)
class Work:
    """What one worker does: a batch, and after its failure each of its items alone."""

    running: FakeCall
    """The call of inference, or the latest one."""
    batch: list[Item]
    call: list[Item]
    started: float
    untried: list[Item] = field(default_factory=list)
    """Items of a failed batch that were not tried alone yet."""
