"""Times contestants side by side: interleaved rounds, medians, and ratios to the first one.

The speed of a shared machine changes while it is measured. Contestants that take turns are all
affected, so the median of the ratios within one round is steadier than the ratio of two separate
runs.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """A function to time: one call processes `images` images."""

    name: str
    images: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """The measurements of one contestant."""

    name: str
    median_ms: float
    """Milliseconds per image, median over the rounds."""
    low_ms: float
    high_ms: float
    ratio: float
    """Time per image relative to the first contestant: the median of the ratios within each
    round."""


def measure(
    contestants: Sequence[Contestant],
    rounds: int,
    after_round: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Run every contestant once per round, after a warm-up round; `clock` returns seconds."""
    for contestant in contestants:
        contestant.run()
    samples: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        for contestant, times in zip(contestants, samples, strict=True):
            start = clock()
            contestant.run()
            times.append((clock() - start) * 1000 / contestant.images)
        after_round()
    first = samples[0]
    return [
        Timing(
            name=contestant.name,
            median_ms=statistics.median(times),
            low_ms=min(times),
            high_ms=max(times),
            ratio=statistics.median(t / f for t, f in zip(times, first, strict=True)),
        )
        for contestant, times in zip(contestants, samples, strict=True)
    ]


def table(timings: list[Timing]) -> str:
    """One line for each contestant; `time` is per image, and relative to the first line."""
    lines = [f"{'':28} {'ms/image':>9} {'min':>8} {'max':>8} {'time':>6}"]
    lines += [
        f"{t.name:28} {t.median_ms:9.1f} {t.low_ms:8.1f} {t.high_ms:8.1f} {t.ratio:5.2f}x"
        for t in timings
    ]
    return "\n".join(lines)
