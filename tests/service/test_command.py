"""The service as a process: over real sockets, with real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.settings import describe
from sfd.files import sha256
from tests.servers import Command, Server

Cells = Callable[..., bytes]
Sleeping = Callable[[object], str]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """The small model's environment for commands."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "cells")


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer, read until the connection closes."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [h.split(b":")[1] for h in head.lower().split(b"\r\n") if b"content-length" in h]
        if lengths and len(body) >= int(lengths[0]):
            return int(data.split()[1]), json.loads(body)
    raise AssertionError(f"no answer, only {data!r}")


def test_the_service_answers_over_a_socket(start_server: Any, bright_cells: Cells) -> None:
    with start_server() as server, httpx.Client(base_url=server.url) as client:
        assert len(client.post("/detect", content=bright_cells(1, 14)).json()["faces"]) == 2
        assert client.get("/").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    for line in server.log.read_text().splitlines():
        assert json.loads(line)["level"] in ("info", "warning")


def test_sigterm_finishes_accepted_requests_and_exits_0(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    with (
        start_server(sleeping("3 * bool(images[0].max() == 255)"), MAX_BATCH=6) as server,
        ThreadPoolExecutor(6) as pool,
    ):
        asked = [
            pool.submit(httpx.post, f"{server.url}/detect", content=bright_cells(5), timeout=60)
            for _ in range(6)
        ]
        server.wait_for("sfd_in_flight", 7)  # the scrape is one
        server.process.send_signal(signal.SIGTERM)
        answers = [future.result() for future in asked]
        assert [answer.status_code for answer in answers] == [200] * 6
        assert all(len(answer.json()["faces"]) == 1 for answer in answers)
        assert server.process.wait(20) == 0


def test_a_client_that_outlasts_the_grace_time_does_not_stop_the_exit(
    start_server: Any,
) -> None:
    with start_server(SHUTDOWN_GRACE_S=1) as server, connect(server.url) as slow:
        slow.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab")
        server.wait_for("sfd_in_flight", 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0


def test_without_a_grace_time_an_idle_service_ends_quietly(start_server: Any) -> None:
    with start_server(SHUTDOWN_GRACE_S=0) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/livez").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        for line in server.log.read_text().splitlines():
            assert json.loads(line)["level"] == "info", line


def test_a_client_that_sends_a_byte_a_second_is_timed_out(start_server: Any) -> None:
    with start_server(REQUEST_TIMEOUT_S=1) as server, connect(server.url) as slow:
        slow.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        started = time.monotonic()
        slow.sendall(b"\xff")
        status, body = read_answer(slow)
        assert (status, body["type"]) == (504, "timeout")
        assert time.monotonic() - started < 5
        assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("stated", [True, False], ids=["with its length", "chunked"])
def test_a_client_that_sends_10_gb_is_refused_early_and_costs_no_memory(
    hardened: Server, stated: bool
) -> None:
    def gigabytes() -> Iterator[bytes]:
        for _ in range(10 * 1024):
            yield bytes(2**20)

    hardened.forget_peak()
    before = hardened.memory()
    headers = {"Content-Length": str(10 * 2**30)} if stated else {}
    started = time.monotonic()
    answer = httpx.post(f"{hardened.url}/detect", content=gigabytes(), headers=headers, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["type"] == "payload-too-large"
    assert time.monotonic() - started < 20
    assert hardened.memory("VmHWM") - before < 100 * 2**20


def test_clients_that_disconnect_do_not_affect_the_others(
    hardened: Server, bright_cells: Cells
) -> None:
    slow = bright_cells(5, size=1900)
    head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(slow)}\r\n\r\n".encode()
    for cut in (len(slow), len(slow) // 2) * 5:
        with connect(hardened.url) as connection:
            connection.sendall(head + slow[:cut])
    answer = httpx.post(f"{hardened.url}/detect", content=bright_cells(2), timeout=60)
    assert answer.status_code == 200
    hardened.wait_until_idle()


def test_a_dry_run_checks_the_deployment(command: Command) -> None:
    done = command("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "cells version 7 on cpu" in done.stdout
    assert "built-in photograph: " in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]], ids=["serve", "dry run"])
def test_a_missing_package_of_the_server_is_named_by_a_dry_run_too(
    command: Command, arguments: list[str]
) -> None:
    without = "sys.modules['uvicorn'] = None; del sys.modules['service.server']"
    done = command(*arguments, before=without)
    assert done.returncode == 1
    assert "needs the Python package 'uvicorn', which is not installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SFD_PORT": "many"}, "SFD_PORT: must be a whole number from 0 to 65535, not 'many'"),
        ({"SFD_MODELS": "missing"}, "no model 'missing'"),
        ({"SFD_MODELS": "../x"}, "is not a model name"),
        (
            {"SFD_MODEL_STORE": "/nowhere"},
            "the model store /nowhere does not exist; set SFD_MODEL_STORE",
        ),
        ({"SFD_PROVIDER": "cuda"}, "SFD_PROVIDER=cuda does not work: "),
        ({"SFD_HOST": "256.0.0.1", "SFD_PORT": "0"}, "cannot listen on 256.0.0.1:0: "),
        ({"SFD_HOST": "a..b"}, "SFD_HOST must be an address or a name of this machine"),
        ({"SFD_HOST": "localhost:8000"}, "SFD_HOST must be an address or a name of this machine"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    command: Command, environment: dict[str, str], says: str
) -> None:
    done = command(**environment)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("sfd serve: ")
    assert says in last
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("limit", [12, 16, 63])
def test_too_few_open_files_stop_the_start_in_one_line(limit: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", sys.executable, "-m", "service"],
        env=os.environ | {"SFD_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"sfd serve: the limit of open files is {limit}, and the service needs 64 or more; raise "
        "it (ulimit -n, nofile)"
    )


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("program", [["sfd", "serve"], ["service"]], ids=" ".join)
def test_a_port_in_use_is_reported(program: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", *program],
            env=os.environ | {"SFD_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in done.stderr


def test_a_model_that_was_corrupted_on_disk_stops_the_start(
    command: Command, tmp_path: Path, write_small_model: Callable[[Path], Path]
) -> None:
    folder = write_small_model(tmp_path)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    done = command(SFD_MODEL_STORE=str(tmp_path))
    assert done.returncode == 1
    assert "does not match its sha256" in done.stderr
    assert "sfd models build cells" in done.stderr


def break_inference(folder: Path) -> None:
    """Let a model open, but fail on every image: it looks up an index that its table lacks."""
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.asarray(7, np.float32), "seven"),
            numpy_helper.from_array(np.zeros(1, np.float32), "table"),
        ]
    )
    scores = next(node for node in model.graph.node if node.output[0] == "scores")
    scores.output[0] = "good"
    model.graph.node.extend(
        [
            helper.make_node("Add", ["zeros", "seven"], ["sevens"]),
            helper.make_node("Cast", ["sevens"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["trouble"]),
            helper.make_node("Add", ["good", "trouble"], ["scores"]),
        ]
    )
    onnx.save(model, folder / "model.onnx")
    build = json.loads((folder / "build.json").read_text())
    build["sha256"] = sha256(folder / "model.onnx")
    (folder / "build.json").write_text(json.dumps(build))


@pytest.mark.parametrize("batch", ["auto", "8"], ids=["measured", "as set"])
@pytest.mark.parametrize("arguments", [(), ("--dry-run",)], ids=["serve", "dry run"])
def test_a_model_that_opens_but_does_not_run_stops_the_start_in_one_line(
    command: Command,
    tmp_path: Path,
    write_small_model: Callable[[Path], Path],
    arguments: tuple[str, ...],
    batch: str,
) -> None:
    break_inference(write_small_model(tmp_path))
    done = command(
        *arguments,
        SFD_MODEL_STORE=str(tmp_path),
        SFD_WORKERS="1",
        SFD_MAX_BATCH=batch,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("sfd serve: cells: the model does not run: ")
    assert "indices element out of data bounds" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_lists_every_setting(command: Command) -> None:
    done = command("--help")
    assert done.returncode == 0
    for variable, _, text in describe():
        assert variable in done.stdout
        assert text in done.stdout


@pytest.mark.parametrize("log_format", [None, "json"])
@pytest.mark.usefixtures("plain")
def test_the_service_runs_without_stderr(log_format: str | None, bright_cells: Cells) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    chosen = {"SFD_LOG_FORMAT": log_format} if log_format else {}
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "sfd", "serve"],
        env=os.environ | {"SFD_PORT": str(port)} | chosen,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        answer = httpx.post(f"{url}/detect", content=bright_cells(1), timeout=20)
        assert len(answer.json()["faces"]) == 1
        if sys.platform == "linux":
            assert os.readlink(f"/proc/{process.pid}/fd/2") == os.devnull
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
