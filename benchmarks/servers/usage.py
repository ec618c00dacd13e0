"""CPU time and memory of all processes of a server."""

import psutil

MARK = "BENCHMARK_MARK"
"""A variable with one value in all processes of one server, also in those that left its tree."""


def processes(mark: str) -> list[psutil.Process]:
    """The processes that carry a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


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
    """The memory of all processes now, as PSS: what processes share counts once."""
    total = 0
    for process in processes(mark):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
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
