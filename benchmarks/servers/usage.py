"""CPU time and memory of all processes of a server."""

import psutil

from sfd.errors import SfdError

MARK = "BENCHMARK_MARK"
"""A variable with one value in all processes of one server, also in those that left its tree."""


def processes(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark, and their descendants, which may carry it or not.

    Ray's processes leave the tree of their parent; the service starts its decoders without its
    environment.
    """
    found: set[psutil.Process] = set()
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        try:
            children.setdefault(process.ppid(), []).append(process)
            if process.environ().get(MARK) == mark:
                found.add(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    waiting = list(found)
    while waiting:
        new = set(children.get(waiting.pop().pid, ())) - found
        found |= new
        waiting += new
    return list(found)


def cpu_s(mark: str) -> float:
    """Seconds of CPU so far, with those of children that ended."""
    total = 0.0
    for process in processes(mark):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_bytes(mark: str) -> int:
    """The memory of all processes now, as PSS: what processes share counts once.

    Raises SfdError if the system does not show it.
    """
    total = 0
    for process in processes(mark):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            raise SfdError(
                f"the memory of process {process.pid} ({process.name()}) cannot be read: run the "
                "comparison as the user of the servers, or as root"
            ) from None
    return total


def kill(mark: str) -> None:
    """End what is left of a server."""
    left = processes(mark)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=10)
