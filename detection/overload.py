"""How long an accepted item may wait: less in an overload than in a burst."""

import math
from dataclasses import dataclass, field

from detection.errors import Overloaded

LIMIT = 0.4
"""In an overload, the longest wait that is allowed, as a share of `target_wait`."""
END = 0.2
"""The predicted wait at which an overload ends, as a share of `target_wait`."""


@dataclass(eq=False)
class Overload:
    """The limit of the wait. The first refusal begins an overload, a short wait ends it.

    A burst may fill the queue up to `target_wait` seconds. From the first refusal on, the limit is
    `LIMIT` of it: a longer queue would answer no more items in a second, and all of them later.
    """

    target_wait: float
    _has_begun: bool = field(default=False, init=False)

    def check(self, wait: float, *, may_begin: bool = True) -> None:
        """Raise Overloaded if a predicted wait in seconds is too long now.

        Without `may_begin`, a refusal begins no overload.
        """
        if wait <= END * self.target_wait:
            self.end()
        longest = LIMIT * self.target_wait if self._has_begun else self.target_wait
        if may_begin and wait > self.target_wait:
            self._has_begun = True
        if wait > longest:
            raise Overloaded(
                f"the wait would be {wait:.1f} s, longer than the {longest:g} s allowed; "
                "try again later",
                # When it is as short as an overload allows.
                retry_after_s=max(1, math.ceil(wait - LIMIT * self.target_wait)),
            )

    def end(self) -> None:
        """Allow a burst again."""
        self._has_begun = False
