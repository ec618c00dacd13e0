"""A process that forks workers. It has loaded Pillow and NumPy, and does nothing else.

A fork of the serving process would copy its threads' locks; a new interpreter for each worker would
take a fifth of a second and 40 MB.

    python … detection.decoding.forkserver CONTROL MEMORY CPU_SECONDS BYTES

Over the socket CONTROL come requests of a fixed size, each answered with a number:

FORK, with the worker's end of its connection: the answer is the worker's process number, or a
negative error number.
END, with a process number: how it ended, as an exit status or the negative number of its signal;
UNKNOWN for a process that this server has not forked, or has ended before.
"""

import ctypes
import mmap
import os
import signal
import socket
import struct
import sys
from multiprocessing.connection import Connection

from detection.decoding.limits import Limits
from detection.decoding.worker import Worker

REQUEST = struct.Struct("!ci")
ANSWER = struct.Struct("!i")
FORK, END = b"F", b"E"
UNKNOWN = 256
FAILED, NO_MEMORY = 2, 3
"""Exit statuses of a worker that an exception ended."""

_PR_SET_PDEATHSIG = 1


def serve(control: socket.socket, descriptor: int, limits: Limits) -> None:
    """Answer requests until the other side closes the socket; then end all workers."""
    # Ctrl-C and a closed terminal reach the whole group of processes.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    pixels = mmap.mmap(descriptor, 0)
    server = os.getpid()
    workers: set[int] = set()
    try:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 1)
            except ConnectionResetError:
                return
            if len(message) < REQUEST.size:
                return
            operation, number = REQUEST.unpack(message)
            if operation == FORK:
                answer = _fork(descriptors[0], control, limits, pixels)
                if answer > 0:
                    workers.add(answer)
            elif number in workers:
                workers.remove(number)
                answer = _end(number)
            else:
                answer = UNKNOWN
            control.sendall(ANSWER.pack(answer))
    finally:
        if os.getpid() == server:
            for number in workers:
                _end(number)


def _fork(end: int, control: socket.socket, limits: Limits, pixels: mmap.mmap) -> int:
    server = os.getpid()
    try:
        process = os.fork()
    except OSError as error:
        process = -(error.errno or 1)
    if process == 0:
        control.close()
        _work(Worker(Connection(end), limits, pixels), server)
    os.close(end)
    return process


def _work(worker: Worker, server: int) -> None:
    """Serve in the forked process, and leave it without the cleaning up of the parent's objects."""
    try:
        if sys.platform == "linux":
            # A worker must not outlive the server: only the server knows that it has ended.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == server:
            worker.serve()
    except MemoryError:
        os._exit(NO_MEMORY)
    except BaseException:
        os._exit(FAILED)
    os._exit(0)


def _end(process: int) -> int:
    """Kill a worker, if it still runs, and wait for it. Its number is not reused before that."""
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main(arguments: list[str]) -> None:
    """Serve; the arguments are those of the module's docstring."""
    control, descriptor, memory = int(arguments[0]), int(arguments[1]), int(arguments[3])
    with socket.socket(fileno=control) as connection:
        serve(connection, descriptor, Limits(float(arguments[2]), memory))


if __name__ == "__main__":
    main(sys.argv[1:])
