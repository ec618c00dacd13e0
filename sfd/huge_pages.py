"""Huge pages for the memory of this process: networks and large pictures run faster with them.

Many systems give huge pages only to programs that ask (`madvise`). From version 2.35 on, glibc asks
if an environment variable says so when the program starts.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from sfd.process import is_whole_process

VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
_GIVEN = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OLDEST_GLIBC = (2, 35)
_RESTARTED = "sfd_restarted"
"""The option -X of Python that the second start has: the variable may be removed on the way."""


def can_be_asked_for() -> bool:
    """Whether this system gives huge pages to programs that ask, and only to those."""
    try:
        given = _GIVEN.read_text()
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (OSError, ValueError):
        return False
    is_new = tuple(map(int, version.split(".")[:2])) >= _OLDEST_GLIBC
    return "[madvise]" in given and library == "glibc" and is_new


def asking(before: str) -> str:
    """The value of the variable that asks for huge pages, unless the one before decides that."""
    if _TUNABLE in before:
        return before
    return ":".join(filter(None, (before, f"{_TUNABLE}=1")))


def restart_to_ask() -> None:
    """Start this program again, as the same process, so that it asks for huge pages.

    Does nothing if that would change nothing, or if this process does more than run the command: it
    must have been started as `sfd COMMAND`, or by `python -m` with one of _PROGRAMS.
    """
    before = os.environ.get(VARIABLE, "")
    wanted = asking(before)
    if wanted == before or _RESTARTED in sys._xoptions or not can_be_asked_for():
        return
    if not is_whole_process():
        return
    # Without huge pages, everything works too.
    with suppress(OSError):
        program = [sys.executable, "-X", _RESTARTED, *sys.orig_argv[1:]]
        os.execve(sys.executable, program, {**os.environ, VARIABLE: wanted})
