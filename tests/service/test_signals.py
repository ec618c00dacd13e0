"""Signals to the service as a process: before, during and after its start."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """The small model's environment for commands."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "cells")


def test_a_closed_terminal_ends_the_service_in_order(start_server: Any) -> None:
    file = BytesIO()
    Image.new("1", (7000, 7000)).save(file, "PNG")  # Decoding it takes a while.
    # A group of processes of its own, as in a terminal. The tests may run under `nohup`.
    group = "import os, signal; os.setsid(); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    with start_server(group) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{server.url}/detect", content=file.getvalue(), timeout=20)
        server.wait_for("sfd_in_flight", 2)
        os.killpg(server.process.pid, signal.SIGHUP)
        assert asked.result().status_code == 200
        assert server.process.wait(20) == 0
        log = server.log.read_text()
        assert "SIGHUP: finishing the accepted requests" in log
        assert "decod" not in log, "the signal stopped no decoder"


def test_under_nohup_a_closed_terminal_ends_nothing(start_server: Any) -> None:
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with start_server(nohup) as server:
        server.process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert "SIGHUP" not in server.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
@pytest.mark.usefixtures("plain")
def test_sigterm_during_the_start_cancels_it(store: Path) -> None:
    # As process 1 of a container, which the kernel protects from signals without a handler.
    slow = "import time, service.runtime as r; r.load = lambda *_, **__: time.sleep(60)"
    serve = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{slow}\n{serve}"], env=os.environ | {"SFD_PORT": "0"}
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        deadline = time.monotonic() + 30
        while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) >> 14 & 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, 143)


_INTERRUPTED = """
import os, signal, threading, time
from concurrent.futures import ThreadPoolExecutor

submit = ThreadPoolExecutor.submit

def interrupted(pool, work, *arguments, **named):
    if getattr(work, "__name__", "") != "_import_server":
        return submit(pool, work, *arguments, **named)
    lock = threading.Lock()
    lock.acquire()
    submit(pool, lock.acquire)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

ThreadPoolExecutor.submit = interrupted
"""
"""SIGTERM comes when the main thread has just taken a lock for which a pool's thread waits."""


@pytest.mark.usefixtures("plain")
def test_sigterm_during_the_start_waits_for_no_thread(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTED)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env=os.environ | {"SFD_PORT": "0", "PYTHONPATH": path},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.usefixtures("plain")
def test_sigterm_during_the_warm_up_exits_0_at_once(tmp_path: Path) -> None:
    slow = (
        "import time; from detection.session import Session; "
        "Session.warm_up = lambda *_, **__: time.sleep(600)"
    )
    serve = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"
    environment = os.environ | {"SFD_PORT": "0", "SFD_SHUTDOWN_GRACE_S": "60"}
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-c", f"{slow}\n{serve}"], env=environment, stderr=file
        ) as process,
    ):
        deadline = time.monotonic() + 30
        while not (found := re.search(r"warming up on port (\d+)", log.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        url = f"http://127.0.0.1:{found[1]}"
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/readyz").status_code == 503
        assert url not in log.read_text(), "the address is told once it is of use"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "ended while a model was warming up" in log.read_text()
