"""What one image may cost, and how a worker process keeps to it."""

import math
import mmap
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BASE_MEMORY = 64 * 2**20
"""What a decoder needs beside the picture and the file."""
BYTES_PER_PIXEL = 20
"""The most that Pillow needs for a pixel, which it keeps in 4 bytes: a progressive CMYK JPEG takes
4 coefficients of 2 bytes, its picture, a copy in RGB, and another one that is turned or drawn."""
USUAL_SHARE = 6
"""Every worker may use a USUAL_SHARE-th of the memory limit; above it, one worker at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one image."""

    cpu_seconds: float
    memory: int
    """Bytes, beside what an idle worker takes."""

    @classmethod
    def of(cls, cpu_seconds: float, memory: int | None, max_pixels: int) -> "Limits":
        """Memory for an image of `max_pixels` unless `memory` is given."""
        return cls(cpu_seconds, memory or BASE_MEMORY + BYTES_PER_PIXEL * max_pixels)

    def may_be_short(self, pixels: int, *, large: bool) -> bool:
        """Whether an image may need more memory than it was allowed."""
        needed = BASE_MEMORY + BYTES_PER_PIXEL * pixels
        return needed > (self.memory if large else self.usual_memory)

    @property
    def usual_memory(self) -> int:
        """What every worker may use at any time."""
        return min(self.memory, max(self.memory // USUAL_SHARE, 2 * BASE_MEMORY))


def confine() -> None:
    """Prepare a worker process: no core files, and the first to go when the system lacks memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def used_memory() -> int:
    """The bytes that `allow_memory` limits; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def allow_memory(size: int) -> None:
    """Let this process use `size` bytes in all. Only Linux keeps to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if hard < 0 else min(size, hard), hard))


def can_have_what_is_allowed() -> bool:
    """Whether this process could still get all memory up to its limit.

    If it could not, it is not the limit that made an image fail: the system has too little.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    left = soft - used_memory()
    if soft < 0 or left <= 0:
        return True
    try:
        mmap.mmap(-1, left, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True


def allow_cpu(seconds: float) -> None:
    """Let this process use so many CPU seconds more; then SIGXCPU ends it.

    In whole seconds, rounded up: the pool measures more finely, and this is the safety net.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))
