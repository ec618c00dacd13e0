"""The results of a comparison: one JSON file, written after every measurement."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil

from detection.cpu import available_cpus
from detection.precision import processor_name
from sfd.distribution import HOME
from sfd.errors import SfdError
from sfd.files import write_atomically

FORMAT = 1
PUBLISHED = HOME / "docs" / "performance"
RESULTS = PUBLISHED / "results.json"
"""The results that docs/performance.md shows."""

Values = dict[str, Any]


@dataclass
class Results:
    """What was measured so far.

    `cells` are the measurements: each has `round`, `server` and `cell`, what the cell measures, or
    the `error` because of which it has nothing.
    """

    path: Path | None
    data: Values

    @classmethod
    def create(cls, path: Path, settings: Values, *, resume: bool) -> Self:
        """New results, or those of an interrupted run with the same settings.

        Raises SfdError for a file that exists and is not to be resumed.
        """
        if path.exists():
            if not resume:
                raise SfdError(
                    f"{path} exists; go on with it by --resume, or name another file with --out"
                )
            found = cls.read(path)
            if found.data["settings"] != settings:
                raise SfdError(f"{path} was measured with other settings; name another --out")
            return cls(path, found.data)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {
            "format": FORMAT,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "settings": settings,
            "versions": {},
            "left_out": {},
            "ceiling": None,
            "cells": [],
        }
        return cls(path, head)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Results of a file. Raises SfdError if it is none."""
        try:
            data = json.loads(path.read_text("utf-8"))
            if data["format"] != FORMAT:
                raise ValueError
        except OSError as error:
            raise SfdError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise SfdError(f"{path}: is not a file of `sfd bench servers run`") from None
        return cls(path, data)

    def has(self, turn: int, server: str, cell: str) -> bool:
        """Whether a cell is measured. One with an error is not."""
        return any(
            (each["round"], each["server"], each["cell"]) == (turn, server, cell)
            and "error" not in each
            for each in self.data["cells"]
        )

    def add(self, turn: int, server: str, cell: str, values: Mapping[str, Any]) -> None:
        """Add a measurement, in place of an earlier one of the same cell, and write the file."""
        key = {"round": turn, "server": server, "cell": cell}
        cells = [each for each in self.data["cells"] if any(each[k] != key[k] for k in key)]
        self.data["cells"] = [*cells, {**key, **rounded(values)}]
        self.save()

    def forget_failure(self, turn: int, server: str) -> None:
        """Remove the error of a server that works now."""
        failed = {"round": turn, "server": server, "cell": "failed"}
        cells = self.data["cells"]
        self.data["cells"] = [each for each in cells if not failed.items() <= each.items()]

    def note_load(self, load: float) -> None:
        """Note the machine's load before a run, or the highest one if a run is resumed."""
        machine = self.data["machine"]
        machine["load_before"] = round(max(load, machine.get("load_before", 0.0)), 2)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is not None:
            write_atomically(self.path, self.text().encode())

    def text(self) -> str:
        """The JSON, with a line for each cell."""
        cells = ",\n  ".join(json.dumps(cell) for cell in self.data["cells"])
        head = {name: value for name, value in self.data.items() if name != "cells"}
        return f'{json.dumps(head, indent=1)[:-2]},\n "cells": [\n  {cells}\n ]\n}}\n'


def rounded(values: Mapping[str, Any]) -> Values:
    """Values with four digits after the point: more are noise."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


def machine() -> Values:
    """The machine of a measurement, without its name. `note_load` adds `load_before`."""
    return {
        "processor": processor_name(),
        "cores": available_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def commit() -> str:
    """The commit of the checkout, with `+changes` if files differ from it."""
    git = ("git", "-C", str(HOME))
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+changes" if changed.strip() else name
