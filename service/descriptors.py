"""Notices that the process has few files or sockets left to open, and that it has enough again."""

import errno
import logging
import os
import resource
import time
from collections.abc import Callable

from detection.errors import StartError

log = logging.getLogger(__name__)

LEAST = 64
"""Fewest open files with which a start is tried: for models, libraries, decoders and clients."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE)
RESERVE = 100
"""Most descriptors that connections leave to the rest of the service."""
QUIET_S = 10.0
"""Least seconds between two lines that say that the limit is reached."""


class Descriptors:
    """Watches the limit of open files; `on_limit` is called whenever it is reached.

    It counts as reached when a tenth of the files is left, or RESERVE if that is less. New
    connections must wait then, so that the service can still open what it needs for the others.
    """

    def __init__(
        self, on_limit: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.on_limit = on_limit
        self.clock = clock
        self.exhausted = False
        self._logged = -QUIET_S
        self._told = False

    def check(self) -> bool:
        """Whether a connection may be accepted. Takes microseconds."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return True
        reserve = min(limit // 10, RESERVE)
        exhausted = _lowest_free(limit) >= limit - reserve
        if exhausted == self.exhausted:
            return not exhausted
        self.exhausted = exhausted
        if not exhausted:
            if self._told:
                log.info("new connections are accepted again")
            return True
        self.on_limit()
        self._told = self.clock() - self._logged >= QUIET_S
        if self._told:
            self._logged = self.clock()
            log.error(
                "the limit of %d open files is nearly reached, with %d left: new connections wait "
                "until others close; raise the limit (ulimit -n, nofile)",
                limit, reserve,
            )  # fmt: skip
        return False


def check_limit() -> None:
    """Raise StartError if the process may open so few files that nothing would work."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < LEAST:
        raise StartError(
            f"the limit of open files is {limit}, and the service needs {LEAST} or more; raise it "
            "(ulimit -n, nofile)"
        )


def _lowest_free(limit: int) -> int:
    """The number of the next descriptor: the system takes the lowest, so all below are in use."""
    try:
        number = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        return limit if error.errno in EXHAUSTED else 0
    os.close(number)
    return number
