"""Saturation: wrk posts pictures from so many clients, each as fast as it is answered."""

import json
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfd.errors import SfdError

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_S = 60


def check() -> str:
    """The version of wrk. Raises SfdError, with what to install, if there is none."""
    if shutil.which("wrk") is None:
        raise SfdError(
            "needs the load generator wrk: install it (Debian: `apt install wrk`), "
            "or leave saturation out with --only latency,overload"
        )
    shown = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return (shown.stdout or shown.stderr).split("[")[0].strip()


def saturate(url: str, photographs: Sequence[Path], clients: int, seconds: float) -> dict[str, Any]:
    """The counts of a run: images per second, latency, refusals, and wrk's own CPU time.

    Raises SfdError if wrk fails.
    """
    command = [
        *("wrk", "--threads", "1", "--connections", str(clients)),
        *("--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_S}s"),
        *("--script", str(SCRIPT), url, "--", *map(str, photographs)),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SfdError(f"wrk failed: {(done.stderr or done.stdout).strip()[-500:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    answered = found["requests"] - found["refused"]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        **found,
        "answered": answered,
        "images_per_s": answered / found["seconds"],
        "generator_cpu_s": used,
    }
