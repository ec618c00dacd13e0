"""Shows how far a job is: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

from sfd.terminal import counted

EVERY_S = 60.0
"""Seconds between two lines where stderr is not a terminal."""


class Progress:
    """Counts finished pictures on stderr, with pictures per second and the time left."""

    def __init__(
        self,
        total: int,
        done: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._total, self._before, self._done = total, done, done
        self._clock = clock
        self._started = self._said = clock()
        self._bar = (
            tqdm(total=total, initial=done, unit=" pictures", file=self._stream, smoothing=0.05)
            if self._stream.isatty()
            else None
        )
        if self._bar is None:
            again = f", {done} of them done before" if done else ""
            self._print(f"{counted(total, 'picture')}{again}")

    def advance(self, pictures: int) -> None:
        """So many more pictures are done."""
        self._done += pictures
        if self._bar is not None:
            self._bar.update(pictures)
        elif self._clock() >= self._said + EVERY_S:
            self._said = self._clock()
            self._print(self._text())

    def failed(self, count: int) -> None:
        """So many pictures have failed in all."""
        if self._bar is not None and count:
            self._bar.set_postfix_str(f"{count} failed", refresh=False)

    @property
    def rate(self) -> float:
        """Pictures of this run per second, since it began to open the model."""
        return (self._done - self._before) / max(self._clock() - self._started, 1e-9)

    def close(self) -> None:
        """End the bar, and leave it to be read."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _text(self) -> str:
        rate = self.rate
        left = f", {_duration((self._total - self._done) / rate)} left" if rate else ""
        total = counted(self._total, "picture")
        return f"{self._done} of {total}, {rate:.1f} per second{left}"

    def _print(self, text: str) -> None:
        print(f"sfd detect: {text}", file=self._stream, flush=True)


def _duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min` or `2 d 07 h`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24:02} h"
