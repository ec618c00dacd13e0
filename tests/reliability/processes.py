"""What a process and its children hold, read from /proc."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

DECODER = re.compile(rb"detection\.decoding")
"""Command lines of the processes that decode pictures, children of the service or of these."""


@dataclass(frozen=True)
class Held:
    """The sums over a process and all processes below it."""

    processes: int
    memory_mb: float
    """Resident in MiB; pages that it shares with others count in part (PSS)."""
    threads: int
    descriptors: int

    def as_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def held(pid: int) -> Held:
    """What a process and its descendants hold now."""
    found = [each for each in map(_one, [pid, *descendants(pid)]) if each is not None]
    return Held(
        processes=len(found),
        memory_mb=round(sum(memory for memory, _, _ in found) / 1024, 1),
        threads=sum(threads for _, threads, _ in found),
        descriptors=sum(descriptors for _, _, descriptors in found),
    )


def _one(pid: int) -> tuple[float, int, int] | None:
    """KiB, threads and descriptors of a process; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        memory = re.search(r"^Pss:\s+(\d+)", (folder / "smaps_rollup").read_text(), re.M)
        status = (folder / "status").read_text()
        threads = re.search(r"^Threads:\s+(\d+)", status, re.M)
        descriptors = len(list((folder / "fd").iterdir()))
    except OSError:
        return None
    # A process that has ended and is not waited for has neither.
    return (float(memory[1]), int(threads[1]), descriptors) if memory and threads else None


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            parents.setdefault(parent, []).append(int(folder.name))
    found = list(parents.get(pid, []))
    for each in found:
        found += parents.get(each, [])
    return found


def _parent(folder: Path) -> int | None:
    try:
        # The name in brackets may contain anything, so count from behind it.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def decoders(pid: int) -> list[int]:
    """The processes below a service that decode pictures; none if it decodes in its own."""
    return [each for each in descendants(pid) if DECODER.search(_command(each))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
