"""Which items the batcher accepts: by the room in its queue, and by the wait that it predicts."""

import math
from collections import deque
from dataclasses import dataclass, field

from detection.deadline import NEVER
from detection.errors import Overloaded
from detection.overload import Overload
from sfd.terminal import counted

LEARNING_RATE = 0.1
"""Weight of a batch's cost in the estimate of an item's cost."""
RECENT = 16
"""The batches among which `least_seconds` looks. A stall spoils only a few of them."""


@dataclass(eq=False)
class Admission:
    """The limits of the queue, and the cost of an item, which each batch corrects.

    The batcher counts its items and passes the numbers.
    """

    queue_limit: int = 128
    """The most items that are prepared or wait for inference."""
    overload: Overload = field(default_factory=lambda: Overload(math.inf))
    """The longest predicted wait with which an item is accepted."""
    image_seconds: float = 0.0
    """The cost of an item in seconds of all workers together: first a guess, then measured."""
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), init=False)
    """The cost of an item in the latest batches; at first the guess, if there is one."""

    def __post_init__(self) -> None:
        if self.image_seconds:
            self._recent.append(self.image_seconds)

    @property
    def least_seconds(self) -> float:
        """The lowest cost of an item in the latest batches, in seconds; 0 if it is unknown."""
        return min(self._recent, default=self.image_seconds)

    def learn(self, seconds: float, *, alone: bool) -> None:
        """Update the estimate by the cost of an item in a batch. Mostly the last ten batches count.

        An item that ran alone cost more than one of several, which a queue consists of. So it can
        only lower the estimate, after a stalled batch has spoilt it.
        """
        old = self.image_seconds
        self._recent.append(seconds)
        if old == 0:
            self.image_seconds = seconds
        elif seconds < old or not alone:
            self.image_seconds = old + LEARNING_RATE * (seconds - old)

    def check_room(self, depth: int, places: int) -> None:
        """Raise Overloaded if `places` more items do not fit a queue that holds `depth`."""
        if depth + places > self.queue_limit:
            images = counted(self.queue_limit, "image")
            raise Overloaded(f"the queue of {images} is full; try again later")

    def check_wait(self, others: int, *, may_begin: bool) -> None:
        """Raise Overloaded if the wait for `others` items would be too long.

        With `may_begin`, a refusal begins an overload.
        """
        if not others:
            # Only another batch can correct a prediction that one stalled batch has spoilt.
            self.overload.end()
        else:
            self.overload.check(others * self.image_seconds, may_begin=may_begin)

    def check_deadline(self, others: int, places: int, left: float) -> None:
        """Raise Overloaded if `places` items, after `others`, need more than `left` seconds.

        A single item is always accepted if there are no others.
        """
        if left == NEVER or (not others and places == 1):
            return
        # With nothing to wait for, only what no recent batch makes possible is refused: no batch
        # would correct an estimate that is too high.
        cost = places * (self.image_seconds if others else self.least_seconds)
        wait = others * self.image_seconds
        if cost > max(left, 0):
            raise Overloaded(
                f"the inference of this request's {places} inputs would take {cost:.1f} s, longer "
                "than the deadline of the request allows; send fewer images or allow more time",
                retry_after_s=max(1, math.ceil(wait)),
            )
        if wait + cost > left:
            raise Overloaded(
                f"the wait would be {wait:.1f} s, longer than the deadline of the request allows; "
                "try again later",
                retry_after_s=max(1, math.ceil(wait)),
            )
