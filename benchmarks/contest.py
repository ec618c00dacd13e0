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
