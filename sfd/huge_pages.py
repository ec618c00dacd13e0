"""Huge pages for the memory of this process: networks and large pictures run faster with them.

Many systems give huge pages only to programs that ask (`madvise`). From version 2.35 on, glibc asks
if an environment variable says so when the program starts.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
ASKING = f"{TUNABLE}=1"
_GIVEN = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def are_given_on_request() -> bool:
    """Whether this system gives huge pages to programs that ask, and only to those."""
    try:
        return "[madvise]" in _GIVEN.read_text()
    except OSError:
        return False


def restart_with() -> None:
    """Start this program again, as the same process, so that it asks for huge pages.

    Returns if that would change nothing, or if the user has set what glibc does.
    """
    before = os.environ.get(VARIABLE, "")
    if TUNABLE in before or not are_given_on_request():
        return
    os.environ[VARIABLE] = f"{before}:{ASKING}" if before else ASKING
    # Without them, everything works too.
    with suppress(OSError):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
