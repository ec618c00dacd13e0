"""The stack comes back by itself after a process dies."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.docker.conftest import Stack

Eventually = Callable[[Callable[[], object], float], object]


def test_a_detector_killed_by_the_kernel_is_back_without_hands(
    stack: "Stack", photo: Path, eventually: Eventually
) -> None:
    before = stack.inspect("detector")
    # Not `docker kill`: the engine would take that for the operator's will, and leave it dead.
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    def back() -> bool:
        now = stack.inspect("detector")
        restarted: bool = now["RestartCount"] == before["RestartCount"] + 1
        return restarted and now["State"]["Health"]["Status"] == "healthy"

    eventually(back, 90)
    answer = httpx.post(f"{stack.detector}/detect", content=photo.read_bytes(), timeout=60)
    assert len(answer.json()["faces"]) == 1
