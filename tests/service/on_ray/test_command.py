"""`sfd serve --ray`: the first try."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.log_writer import LogWriter
from sfd.cli import main
from tests.cells import NAME
from tests.clusters import FRUGAL, PATIENCE_S
from tests.monitors import free_port

Cells = Callable[..., bytes]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """The settings of the small model."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", NAME)


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes back what the command does to the logging of this process."""
    root, level = logging.getLogger(), logging.getLogger().level
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    root.handlers = [each for each in root.handlers if not isinstance(each, LogWriter)]
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_it_serves_with_several_replicas_and_ends_in_order(
    has_ray: None, store: Path, tmp_path: Path, bright_cells: Cells, ending: signal.Signals
) -> None:
    port = free_port()
    environment = {
        **FRUGAL,
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
            # A closed terminal's SIGHUP reaches the whole group. The tests may run under `nohup`.
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
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
        if ending is signal.SIGHUP:
            os.killpg(process.pid, ending)
        else:
            process.send_signal(ending)
        assert process.wait(PATIENCE_S) == 0
        assert "stopping Ray" in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_without_ray_it_names_the_extra(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFD_PORT", str(free_port()))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["serve", "--ray"]) == 1
    error = capsys.readouterr().err
    assert error.endswith(
        "needs the Python package 'ray', which is not installed: "
        "run pip install 'sfd[service,ray]'\n"
    )


def test_it_does_not_touch_a_cluster_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert main(["serve", "--ray"]) == 1
    assert "RAY_ADDRESS is set" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_a_wrong_number_of_replicas_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", f"--ray={number}"])
    assert ended.value.code == 2
    expected = f"argument --ray: '{number}' is not a whole number of at least 1"
    assert expected in capsys.readouterr().err


def test_a_port_in_use_is_reported_before_ray_starts(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SFD_PORT", str(taken.getsockname()[1]))
        assert main(["serve", "--ray"]) == 1
    assert "the port is in use" in capsys.readouterr().err


def test_the_port_must_be_known(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFD_PORT", "0")
    assert main(["serve", "--ray"]) == 1
    assert "SFD_PORT: must not be 0 with --ray" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_reported_before_ray_starts(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFD_MODELS", "nobody")
    assert main(["serve", "--ray"]) == 1
    assert "nobody" in capsys.readouterr().err
