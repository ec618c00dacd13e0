"""The serving process's side of the worker processes: starting, asking and ending them."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from detection.decoding.forkserver import ANSWER, END, FORK, REQUEST, UNKNOWN
from detection.decoding.limits import Limits
from detection.decoding.usage import cpu_seconds, total_cpu_seconds, total_memory
from detection.errors import StartError
from sfd import huge_pages

# The path of modules is this process's own: an editable or a zipped installation works, too.
_START = """\
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # glibc: keep 32 MiB for the next picture. By default each picture's memory goes back to the
    # system, and getting it again costs a third of the decoding.
    "MALLOC_MMAP_THRESHOLD_": str(16 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
    "MALLOC_ARENA_MAX": "1",
}
INHERITED = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "PYTHON", "LD_LIBRARY_PATH", "DYLD_")
"""Beginnings of the variables that the processes get. API keys are not among them."""
SILENCE_S = 10
"""A message that has begun must go on within this time."""
ANSWER_S = 10
"""The most time for the fork server to answer."""


@dataclass(eq=False, slots=True)
class Process:
    """A worker process."""

    connection: Connection
    number: int

    def cpu_seconds(self) -> float | None:
        """The CPU time that it has used; None where the system does not tell."""
        return cpu_seconds(self.number)

    def be_nice(self, level: int) -> None:
        """Lower its priority to a level, 0-19. It can't be raised again."""
        # An error means that it has just ended.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.number, level)

    @property
    def is_alive(self) -> bool:
        """Whether an idle worker still waits for work."""
        try:
            return not self.connection.poll(0)
        except OSError:
            return False

    def wait_for_end(self, seconds: float) -> bool:
        """Whether it ends in time. Only the worker holds the other end of the connection."""
        latest = time.monotonic() + seconds
        try:
            while self.connection.poll(max(latest - time.monotonic(), 0)):
                self.connection.recv_bytes()
        except (EOFError, OSError):
            return True
        return False


class ForkServer:
    """Starts and ends worker processes. Thread-safe. Raises StartError if it can't be started."""

    def __init__(self, limits: Limits, descriptor: int) -> None:
        self._limits = limits
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._closed = False
        self._used = self._used_before = 0.0
        if getattr(sys, "frozen", False) or not sys.executable:
            raise StartError(
                "this program has no Python interpreter that it could start to decode images: set "
                "SFD_DECODING=threads"
            )
        try:
            self._start()
        except OSError as error:
            raise StartError(f"cannot start a process that decodes images: {error}") from None

    @property
    def is_closed(self) -> bool:
        """Whether no worker can be started any more."""
        return self._closed

    def fork(self) -> Process:
        """A new worker. Raises OSError if the system has no room for it."""
        with self._lock:
            for attempt in range(2):
                here, there = socket.socketpair()
                with there:
                    try:
                        number = self._ask(FORK, 0, there)
                    except OSError:
                        here.close()
                        # The server was killed. Its workers end with it.
                        self._restart()
                        if attempt:
                            raise
                        continue
                if number < 0:
                    here.close()
                    raise OSError(-number, os.strerror(-number))
                # A worker that stops in the middle of a message fails it.
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    here.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SILENCE_S, 0))
                return Process(Connection(here.detach()), number)
        raise AssertionError("unreachable")

    def end(self, process: Process) -> int:
        """End a worker; how it ended, as `subprocess` returns it. Then it writes no more.

        Raises OSError if that is not certain.
        """
        if process.connection.closed:
            return UNKNOWN
        with self._lock:
            try:
                status = self._ask(END, process.number)
            except OSError:
                if not self._closed:
                    self._restart()
                status = UNKNOWN
        if status == UNKNOWN:
            # The server that forked it has ended.
            with suppress(ProcessLookupError):
                os.kill(process.number, signal.SIGKILL)
            if not process.wait_for_end(ANSWER_S):
                raise OSError("a decoder does not end")
        process.connection.close()
        return status

    def cpu_seconds(self) -> float:
        """The CPU time of all servers so far and their workers."""
        # A worker that ends in between is missing for a moment.
        now = self._used_before + total_cpu_seconds(self.number)
        self._used = max(self._used, now)
        return self._used

    def memory(self) -> int:
        """The resident bytes of the server and its workers."""
        return total_memory(self.number)

    def close(self) -> None:
        """End the server and all workers."""
        with self._lock:
            self._closed = True
            self._end()

    def _restart(self) -> None:
        if self._closed:
            raise OSError("the decoding processes have ended")
        self._end()
        # The new server starts at zero.
        self._used_before = self._used
        self._start()

    def _start(self) -> None:
        here, there = socket.socketpair()
        here.settimeout(ANSWER_S)
        with there:
            # -P: the current folder's modules are not those of Python.
            command = [sys.executable, "-P", "-c", _START, json.dumps([*map(str, sys.path)])]
            command += ["detection.decoding.forkserver", str(there.fileno())]
            command += [str(self._descriptor), str(self._limits.cpu_seconds)]
            try:
                with _signals_blocked():
                    server = subprocess.Popen(
                        [*command, str(self._limits.memory)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=(there.fileno(), self._descriptor),
                        env=_environment(),
                    )
            except BaseException:
                here.close()
                raise
        self._control, self.number = here, server.pid
        # Also for an owner that is gone without having closed it.
        self._end = weakref.finalize(self, _end, here, server)

    def _ask(self, operation: bytes, number: int, end: socket.socket | None = None) -> int:
        """The server's answer. Raises OSError if it is not there, or does not answer in time."""
        request = REQUEST.pack(operation, number)
        descriptors = [] if end is None else [end.fileno()]
        socket.send_fds(self._control, [request], descriptors)
        answer = self._control.recv(ANSWER.size, socket.MSG_WAITALL)
        if len(answer) < ANSWER.size:
            raise ConnectionResetError("the process that forks decoders has ended")
        (result,) = ANSWER.unpack(answer)
        return int(result)


def _environment() -> dict[str, str]:
    inherited = {name: v for name, v in os.environ.items() if name.startswith(INHERITED)}
    # Without huge pages, getting memory takes a quarter of the CPU time that a photograph of 12 MP
    # needs.
    tunables = huge_pages.asking(os.environ.get(huge_pages.VARIABLE, ""))
    return inherited | ENVIRONMENT | {huge_pages.VARIABLE: tunables}


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process that starts here keeps these signals blocked until it ignores them."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(control: socket.socket, server: "subprocess.Popen[bytes]") -> None:
    """End a fork server: it ends when its socket is closed."""
    control.close()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status == UNKNOWN:
        return "for an unknown reason"
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
