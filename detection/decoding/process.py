"""The serving process's side of the worker processes: starting, asking and ending them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from detection.decoding.forkserver import ANSWER, END, FORK, REQUEST
from detection.decoding.limits import Limits
from detection.errors import StartError

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
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# Of Linux: fields 14 and 15 of /proc/PID/stat, counted from the one behind the name, which is 3.
_USER_TIME, _SYSTEM_TIME = 14 - 3, 15 - 3


@dataclass(eq=False, slots=True)
class Process:
    """A worker process."""

    connection: Connection
    number: int

    def cpu_seconds(self) -> float:
        """The CPU time that it has used; 0 where the system does not tell."""
        try:
            status = Path(f"/proc/{self.number}/stat").read_text()
        except OSError:
            return 0.0
        fields = status.rpartition(")")[2].split()
        return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _CLOCK_TICKS

    def be_nice(self, level: int) -> None:
        """Lower its priority to a level, 0-19. It can't be raised again."""
        try:
            os.setpriority(os.PRIO_PROCESS, self.number, level)
        except OSError:
            # It has just ended.
            return

    @property
    def is_alive(self) -> bool:
        """Whether an idle worker still waits for work."""
        try:
            return not self.connection.poll(0)
        except OSError:
            return False


class ForkServer:
    """Starts and ends worker processes. Thread-safe. Raises StartError if it can't be started."""

    def __init__(self, limits: Limits, descriptor: int) -> None:
        self._limits = limits
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._closed = False
        self._start()

    def fork(self) -> Process:
        """A new worker. Raises OSError if the system has no room for it."""
        here, there = socket.socketpair()
        try:
            with there:
                number = self._ask(FORK, 0, there)
        except BaseException:
            here.close()
            raise
        return Process(Connection(here.detach()), number)

    def end(self, process: Process) -> int:
        """End a worker; how it ended, as `subprocess` returns it."""
        process.connection.close()
        return self._ask(END, process.number)

    def close(self) -> None:
        """End the server and all workers."""
        with self._lock:
            self._closed = True
            self._end()

    def _start(self) -> None:
        here, there = socket.socketpair()
        with there:
            arguments = [there.fileno(), self._descriptor, self._limits.cpu_seconds]
            command = [sys.executable, "-c", _START, json.dumps(sys.path)]
            command += ["detection.decoding.forkserver", *map(str, arguments)]
            try:
                server = subprocess.Popen(
                    [*command, str(self._limits.memory)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(there.fileno(), self._descriptor),
                    env=os.environ | ENVIRONMENT,
                )
            except OSError as error:
                here.close()
                raise StartError(f"cannot start a process that decodes images: {error}") from None
        self._control, self.number = here, server.pid
        # Also for an owner that is gone without having closed it.
        self._end = weakref.finalize(self, _end, here, server)

    def _ask(self, operation: bytes, number: int, end: socket.socket | None = None) -> int:
        with self._lock:
            if self._closed:
                raise OSError("the decoding processes have ended")
            try:
                return self._exchange(operation, number, end)
            except OSError:
                # It was killed. Its workers end by themselves.
                self._end()
                self._start()
                return self._exchange(operation, number, end)

    def _exchange(self, operation: bytes, number: int, end: socket.socket | None) -> int:
        request = REQUEST.pack(operation, number)
        descriptors = [] if end is None else [end.fileno()]
        socket.send_fds(self._control, [request], descriptors)
        answer = self._control.recv(ANSWER.size, socket.MSG_WAITALL)
        if len(answer) < ANSWER.size:
            raise ConnectionResetError("the process that forks decoders has ended")
        (result,) = ANSWER.unpack(answer)
        return int(result)


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
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit code {status}"
