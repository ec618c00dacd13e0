"""Notices that the process may open no more files or sockets, and that it may again."""

import errno
import logging
import os
import resource
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

EXHAUSTED = (errno.EMFILE, errno.ENFILE)
QUIET_S = 10.0
"""Least seconds between two lines that say that the limit is reached."""


class Descriptors:
    """Watches the limit of open files; `on_limit` is called whenever it is reached.

    At the limit no connection is accepted. uvloop does not report it, and asyncio's report is a
    flood of tracebacks.
    """

    def __init__(
        self, on_limit: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.on_limit = on_limit
        self.clock = clock
        self.exhausted = False
        self._logged = -QUIET_S
        self._told = False

    def check(self) -> None:
        """Look whether a file can be opened. Takes microseconds."""
        exhausted = not _can_open()
        if exhausted == self.exhausted:
            return
        self.exhausted = exhausted
        if not exhausted:
            if self._told:
                log.info("new connections are accepted again")
            return
        self.on_limit()
        self._told = self.clock() - self._logged >= QUIET_S
        if self._told:
            self._logged = self.clock()
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            log.error(
                "the limit of %d open files is reached: new connections wait until others close; "
                "raise it (ulimit -n, nofile)",
                limit,
            )


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in EXHAUSTED
    return True
