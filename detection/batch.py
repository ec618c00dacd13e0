"""The items of the batcher, its calls of inference, and its answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from detection.clock import Handle

Item = TypeVar("Item")
Result = TypeVar("Result")
Taken = TypeVar("Taken", covariant=True)


class Take(Protocol[Taken]):
    """Begins a call of `infer`."""

    def __call__(self) -> Sequence[Taken]:
        """The items of the batch, or none if no batch is due any more. Inference begins now.

        May be called from any thread. Later calls return the same items.
        """


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """The result of one item, with its batch size and times in seconds."""

    result: Result
    queued: float
    inference: float
    batch_size: int


@dataclass(eq=False, slots=True)
class Entry(Generic[Item, Result]):
    """An item that waits or is in inference."""

    item: Item
    """What `infer` gets."""
    future: asyncio.Future[Answer[Result]]
    """Its answer; only the event loop may use it."""
    submitted: float
    """By the clock's `time`."""
    started: float
    """By its stopwatch."""
    expires: float
    """The deadline by the stopwatch."""
    expiry: Handle | None = None
    has_waited: bool = False
    """Whether it has waited `max_wait` by the clock, which may be ahead of the stopwatch."""
    is_gone: bool = False
    """Whether nobody waits for it any more. A thread must not ask `future`."""


@dataclass(eq=False, slots=True)
class Call(Generic[Item, Result]):
    """A call of `infer`: in hand, then begun."""

    retried: Entry[Item, Result] | None = None
    """The item, if it is one of a failed batch."""
    alone: bool = False
    """Whether no other call of this batcher runs until it ends. It takes only one item."""
    batch: list[Entry[Item, Result]] | None = None
    """The items; None until it begins."""
    late: list[Entry[Item, Result]] = field(default_factory=list)
    """Items whose deadline had passed when it began; their timers are late."""
    started: float = 0.0
    """When it began, by the stopwatch."""


def fail(entries: Sequence[Entry[Item, Result]], error: Exception) -> None:
    """Answer those entries with an error that have no answer yet."""
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)
