"""How many CPUs this process may use, given the container's quota, and the cache of each."""

import math
import os
from pathlib import Path


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole CPUs, at least 1: the smaller of the affinity mask and the cgroup's quota.

    A fraction is rounded up, because an extra thread makes use of half a CPU.
    """
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _quota_v2(cgroup / "cpu.max") or _quota_v1(cgroup / "cpu")
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def core_cache(caches: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int | None:
    """The bytes of the second-level cache, which belongs to one core; None if Linux names none."""
    for index in sorted(caches.glob("index*")):
        match _words(index / "level"), _words(index / "size"):
            case [["2"], [size]] if size.endswith("K") and size[:-1].isdecimal():
                return int(size[:-1]) * 1024
    return None


def _quota_v2(path: Path) -> float | None:
    """CPUs of cgroup v2's `cpu.max`, "QUOTA PERIOD" or "max PERIOD", in microseconds."""
    match _words(path):
        case [quota, period]:
            return _ratio(quota, period)
    return None


def _quota_v1(folder: Path) -> float | None:
    """CPUs of cgroup v1's two files; a quota of -1 means none."""
    match _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us"):
        case [quota], [period]:
            return _ratio(quota, period)
    return None


def _ratio(quota: str, period: str) -> float | None:
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cpus if cpus > 0 else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
