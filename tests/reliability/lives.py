"""The services of a soak, one after the other: what each has to bear, and what was seen of it."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.reliability.processes import Held

ROOT = Path(__file__).resolve().parents[2]
LIVES = {"steady": 0.6, "unread": 0.15, "full": 0.15, "again": 0.1}
"""The services and their shares of the time."""
FAKETIME = "usr/lib/*/faketime/libfaketimeMT.so.1"


@dataclass
class Life:
    """What was seen of one service."""

    name: str
    stderr: str
    log: Path | None = None
    clock: Path | None = None
    """The file that sets its wall clock."""
    skipped: list[str] = field(default_factory=list)
    jumps: int = 0
    kills: list[float] = field(default_factory=list)
    """When a decoder was killed, by the monotonic clock, as all times here."""
    samples: list[Held] = field(default_factory=list)
    rest: list[Held] = field(default_factory=list)
    """At rest after the warm-up, and at the end."""
    ready: float = 0.0
    ending: float = 0.0
    """When it got SIGTERM."""
    ended: float = 0.0
    exit_code: int | None = None
    broken: str = ""
    """Why it ended before its time, if it did."""


@contextmanager
def stderr_of(
    name: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Life, int | IO[str], dict[str, str]]]:
    """The life of a name, its stderr, and its environment."""
    if name == "unread":
        yield Life(name, "a pipe that nobody reads"), subprocess.PIPE, dict(environment)
        return
    if name == "full":
        with full_disk(folder / "full", environment) as (life, log, changed):
            yield life, log, changed
        return
    path = folder / f"{name}.log"
    life = Life(name, "a file", log=path)
    changed = dict(environment) | faked_clock(life, folder)
    with path.open("w") as log:
        yield life, log, changed


def faked_clock(life: Life, folder: Path) -> dict[str, str]:
    """Variables with which a file sets the wall clock of a process; empty without libfaketime."""
    found = sorted(Path("/").glob(FAKETIME))
    if not found:
        life.skipped.append("clock jumps: libfaketime is not installed (Debian: faketime)")
        return {}
    life.clock = folder / f"clock-{life.name}"
    life.clock.write_text("+0")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(life.clock),
        # Without a cache, libfaketime reads the file each time that the service reads a clock.
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@contextmanager
def full_disk(
    folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Life, IO[str], dict[str, str]]]:
    """A disk of its own with the model store and the log, and not one byte left.

    Only root may mount one. For others, stderr is /dev/full, and the store is left out.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        life = Life("full", "/dev/full")
        life.skipped.append("full disk for the store: only root may mount a small one")
        with open("/dev/full", "w") as log:
            yield life, log, dict(environment)
        return
    try:
        store = Path(environment.get("SFD_MODEL_STORE", ROOT / "model_store"))
        shutil.copytree(store, folder / "store")
        with (folder / "service.log").open("w") as log:
            with suppress(OSError), (folder / "rest").open("wb", buffering=0) as rest:
                while rest.write(bytes(4096)):
                    pass
            changed = {"SFD_MODEL_STORE": str(folder / "store"), "TMPDIR": str(folder)}
            yield Life("full", "a file on a full disk"), log, dict(environment) | changed
    finally:
        # The store's pages may still be mapped by a process that is just ending.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
