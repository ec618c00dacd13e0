"""`sfd serve --ray`: the first try."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.cells import NAME
from tests.clusters import PATIENCE_S, free_port

Cells = Callable[..., bytes]


def test_it_serves_with_several_replicas_and_ends_with_sigterm(
    has_ray: None, store: Path, tmp_path: Path, bright_cells: Cells
) -> None:
    port = free_port()
    environment = {
        "PYTHONWARNINGS": "ignore",
        "RAY_AUTH_MODE": "disabled",
        "SFD_MODELS": NAME,
        "SFD_MODEL_STORE": str(store),
        "SFD_PORT": str(port),
        "SFD_THREADS": "2",
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sfd", "serve", "--ray", "2"],
            env=os.environ | environment,
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"listening on (http://[^\"]+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        answer = httpx.post(f"{found[1]}/detect", content=bright_cells(1), timeout=60)
        assert len(answer.json()["faces"]) == 1
        assert len(httpx.get(f"{found[1]}/metrics/targets", timeout=60).json()) == 2
        (threads,) = set(re.findall(r"workers \d+ with threads (\d+) each", log.read_text()))
        assert threads == "1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
