"""What processes use, read from /proc, which only Linux has."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# Fields 14 to 17 of /proc/PID/stat, counted from the one behind the name, which is 3.
_OWN_TIMES = (14 - 3, 15 - 3)
_TIMES_WITH_ENDED_CHILDREN = (*_OWN_TIMES, 16 - 3, 17 - 3)


def cpu_seconds(process: int) -> float | None:
    """The CPU time that a process has used; None where the system does not tell."""
    return _times(process, _OWN_TIMES)


def total_cpu_seconds(process: int) -> float:
    """The CPU time of a process and its children, those that have ended included; 0 if unknown."""
    used = _times(process, _TIMES_WITH_ENDED_CHILDREN) or 0.0
    return used + sum(cpu_seconds(child) or 0.0 for child in _children(process))


def total_memory(process: int) -> int:
    """Resident bytes of a process and its children; 0 if unknown.

    Pages that they share with each other count once.
    """
    return sum(map(_memory, [process, *_children(process)]))


def _times(process: int, fields: Sequence[int]) -> float | None:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    values = status.rpartition(")")[2].split()
    return sum(int(values[field]) for field in fields) / _CLOCK_TICKS


def _children(process: int) -> list[int]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in listed.split()]


def _memory(process: int) -> int:
    """The proportional set size of a process in bytes."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
