"""Writes log lines in a thread of its own, so that nobody who logs waits for their reader."""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

MOST_BYTES = 4 * 2**20
"""Of the lines that wait: some ten thousand. More are dropped and counted."""
FLUSH_S = 2.0
"""Most seconds that the end of the process waits for the last lines."""


class LogWriter(logging.Handler):
    """Formats records where they are logged, and writes their lines to a file descriptor.

    A pipe that nobody reads takes 64 KiB and then blocks its writer. With a handler that writes
    itself, this stops the event loop. Here only the thread waits; lines that find no room are
    dropped, and a later line says how many. It writes below `sys.stderr`, whose lock it would
    otherwise hold for ever.
    """

    def __init__(self, descriptor: int, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.most_bytes = most_bytes
        self.dropped = 0
        """Lines dropped so far."""
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each dropped line."""
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._reported = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record. Never waits, and never raises."""
        try:
            line = self._line(record)
        except Exception:
            # A record whose arguments do not fit its message must not end a request.
            self._drop()
            return
        with self._changed:
            fits = self._bytes + len(line) <= self.most_bytes
            if fits:
                self._lines.append(line)
                self._bytes += len(line)
                self._changed.notify_all()
        if not fits:
            self._drop()

    def flush(self, seconds: float = FLUSH_S) -> None:
        """Wait until all lines are written, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, seconds)

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _drop(self) -> None:
        with self._changed:
            self.dropped += 1
        self.on_drop()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines.popleft()
            written = self._write(line)
            if written:
                self._report()
            with self._changed:
                self._bytes -= len(line)
                self._changed.notify_all()
            if not written:
                self._drop()

    def _report(self) -> None:
        """Write how many lines were dropped since the last report."""
        new = self.dropped - self._reported
        if new:
            text = f"{new} log lines were dropped, because they were written faster than read"
            record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
            if self._write(self._line(record)):
                self._reported += new

    def _write(self, line: bytes) -> bool:
        """Write a line, however long it takes; False if the other end is gone."""
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                # Another process can have made the pipe non-blocking.
                select.select([], [self.descriptor], [])
            except OSError:
                return False
        return True
