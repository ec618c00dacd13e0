"""Runs the service with the small model of `tests.cells`, in this process or in another."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from service import runtime as runtimes
from service.app import create_app
from service.runtime import Runtime
from service.settings import Settings
from sfd import huge_pages
from tests.cells import NAME


@pytest.fixture
def settings(store: Path) -> Callable[..., Settings]:
    """Makes settings for the small model, by field name."""

    def make(**options: Any) -> Settings:
        defaults: dict[str, Any] = {
            "model_store": store,
            "models": (NAME,),
            "threads": 1,
            # Set explicitly, because a measurement's choice differs from run to run.
            "workers": 1,
            "max_batch": 8,
            "provider": "cpu",
            # Processes take a quarter of a second to start, and do the same, as
            # decoding/test_pool.py shows. Services in a process of their own use them.
            "decoding": "threads",
        }
        return Settings(**(defaults | options))

    return make


Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def serve(settings: Callable[..., Settings]) -> Serve:
    """A warm service in this process, with the given settings; `client.app` is the app."""

    @contextmanager
    def start(
        change: Callable[[Runtime], None] = lambda _: None, **options: Any
    ) -> Iterator[TestClient]:
        runtime = runtimes.load(settings(**options))
        change(runtime)
        with TestClient(create_app(runtime), raise_server_exceptions=False) as client:
            assert client.portal is not None
            client.portal.call(runtime.warm_up)
            yield client

    return start


@pytest.fixture
def client(serve: Serve) -> Iterator[TestClient]:
    """A warm service in this process with the default settings."""
    with serve() as started:
        yield started


_TUNABLES = huge_pages.asking(os.environ.get(huge_pages.VARIABLE, ""))
"""Set, as in the Docker image, so that a service need not start again for huge pages."""
FIXED = {"SFD_THREADS": "1", "SFD_WORKERS": "1", "SFD_MAX_BATCH": "8"}


class Server:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.connections: list[socket.socket] = []
        self.url = self._wait_for(r'listening on (http://[^"\s]+)')
        deadline = time.monotonic() + 60
        with httpx.Client(base_url=self.url) as client:
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.02)

    @property
    def grpc(self) -> str:
        """The address of its gRPC port; needs SFD_GRPC_PORT."""
        return self._wait_for(r'gRPC on ([^"\s]+)')

    def connect(self, timeout: float = 20) -> socket.socket:
        """A bare connection, closed with the service."""
        parts = urlsplit(self.url)
        self.connections.append(socket.create_connection((parts.hostname, parts.port), timeout))
        return self.connections[-1]

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics by name and labels; the scrape is one request in flight."""
        lines = httpx.get(f"{self.url}/metrics", timeout=20).text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def memory(self, which: str = "VmRSS") -> int:
        """Resident bytes now, or their peak ("VmHWM")."""
        status = self._proc("status").read_text()
        return 1024 * int(status.split(f"{which}:")[1].split()[0])

    def forget_peak(self) -> None:
        """Reset the peak memory ("VmHWM") to what is resident now."""
        self._proc("clear_refs").write_text("5")

    def open_files(self) -> int:
        """How many files and sockets the process holds."""
        return len(list(self._proc("fd").iterdir()))

    def _proc(self, name: str) -> Path:
        """A value that the kernel reports about the process; skips the test if this is not
        Linux."""
        if sys.platform != "linux":
            pytest.skip("reads /proc, which only Linux has")
        return Path(f"/proc/{self.process.pid}/{name}")

    def wait_for(self, metric: str, least: float, seconds: float = 20) -> None:
        """Wait until a metric reaches `least`; AssertionError if it never does."""
        deadline = time.monotonic() + seconds
        while self.metrics().get(metric, 0) < least:
            assert time.monotonic() < deadline, metric
            time.sleep(0.01)

    def wait_until_idle(self, seconds: float = 20) -> None:
        """Wait until only the scrape is in flight and nothing is queued; AssertionError if
        never."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.metrics()
            if (found["sfd_in_flight"], found["sfd_queue_depth"]) == (1, 0):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.02)

    def complete_log(self) -> str:
        """The log with the lines of all requests so far. A thread writes it, in order."""
        mark = f"mark-{uuid.uuid4().hex}"
        httpx.get(f"{self.url}/{mark}", timeout=20)
        deadline = time.monotonic() + 20
        while mark not in (text := self.log.read_text()):
            assert time.monotonic() < deadline, text
            time.sleep(0.01)
        return "".join(line for line in text.splitlines(keepends=True) if "/mark-" not in line)

    def _wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log.read_text()):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in\n{self.log.read_text()}")


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SFD_")}


@contextmanager
def run_server(folder: Path, environment: dict[str, str], before: str = "") -> Iterator[Server]:
    """`python -m service` on a free port; killed at the end if it still runs.

    `before` is Python that runs first in its process, to change a constant or inject a fault.
    """
    serve = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"
    log = folder / "server.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, *(("-c", f"{before}\n{serve}") if before else ("-m", "service"))],
            env=_without_settings()
            | {"SFD_PORT": "0", huge_pages.VARIABLE: _TUNABLES}
            | environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )
    connections: list[socket.socket] = []
    try:
        server = Server(process, log)
        connections = server.connections
        yield server
    finally:
        for connection in connections:
            connection.close()
        if process.poll() is None:
            process.kill()
        process.wait()


StartServer = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def start_server(store: Path, tmp_path: Path) -> StartServer:
    """Starts `python -m service` for the small model with the given SFD_ settings."""
    return _starter(store, lambda: tmp_path)


@pytest.fixture(scope="module")
def start_for_module(store: Path, tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """`start_server` for a service that several tests of a module share."""
    return _starter(store, lambda: tmp_path_factory.mktemp("server"))


def _starter(store: Path, folder: Callable[[], Path]) -> StartServer:
    def start(before: str = "", **settings: object) -> AbstractContextManager[Server]:
        environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": NAME} | FIXED
        environment |= {f"SFD_{name}": str(value) for name, value in settings.items()}
        return run_server(folder(), environment, before)

    return start


_FORKING = """
import gc, json, os, signal, sys
import service.command, service.server
from sfd.cli import main
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os.environ.clear()
        os.environ.update(asked["environment"])
        for descriptor, path in enumerate(asked["outputs"], 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        exec(asked["before"])
        sys.exit(main(["serve", *asked["arguments"]]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Command:
    """`sfd serve` that ends by itself within a minute, because it cannot start or is a dry run.

    Each run is a process of its own, forked from one that has imported the service: importing it
    takes most of the time of such a run. What was imported is frozen, so that no run collects it.
    On macOS each run is a new interpreter, because the system's libraries don't work in a fork.
    """

    def __init__(self, store: Path, folder: Path) -> None:
        self._settings = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": NAME, "SFD_PORT": "0"}
        self._outputs = [folder / "stdout", folder / "stderr"]
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _FORKING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *arguments: str, before: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run it for the small model, with these arguments and variables besides.

        `before` is Python that runs first. The service is imported already.
        """
        environment = _without_settings() | self._settings | environment
        if sys.platform == "darwin":
            start = f"import sys, sfd.cli; sys.exit(sfd.cli.main({['serve', *arguments]}))"
            return subprocess.run(
                [sys.executable, "-c", f"{before}\n{start}"],
                env=environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        asked = {
            "arguments": arguments,
            "before": before,
            "environment": environment,
            "outputs": [str(path) for path in self._outputs],
        }
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        code = int(self._parent.stdout.readline())
        out, err = (path.read_text() for path in self._outputs)
        return subprocess.CompletedProcess(["sfd", "serve", *arguments], code, out, err)

    def close(self) -> None:
        """End the process that forks."""
        self._parent.communicate()


@pytest.fixture(scope="module")
def command(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Runs `sfd serve` to its end."""
    started = Command(store, tmp_path_factory.mktemp("command"))
    yield started
    started.close()


SLEEPING = """
import time, detection.session as session
run = session.Session.run
def slow(self, images):
    answer = run(self, images)
    time.sleep({seconds})
    return answer
session.Session.run = slow
"""


@pytest.fixture(scope="session")
def sleeping() -> Callable[[object], str]:
    """Python to run before the service: each batch of `images` takes some seconds longer.

    The seconds are a number or an expression, such as one that spares the warm-up's black images.
    """
    return lambda seconds: SLEEPING.format(seconds=seconds)


HOLDING = """
import time, pathlib, detection.session as session
run = session.Session.run
def held(self, images):
    answer = run(self, images)
    latest = time.monotonic() + 60
    while images[0].max() == 255 and not pathlib.Path({file!r}).exists():
        assert time.monotonic() < latest, "nobody made {file}"
        time.sleep(0.01)
    return answer
session.Session.run = held
"""


@pytest.fixture(scope="session")
def holding() -> Callable[[Path], str]:
    """Python to run before the service: batches after the warm-up wait until a file exists.

    They wait for 60 s at most.
    """
    return lambda file: HOLDING.format(file=str(file))


@pytest.fixture(scope="session")
def start_real_server() -> Callable[..., AbstractContextManager[Server]]:
    """Starts `python -m service` with the given environment, in the given folder."""
    return run_server


@pytest.fixture(scope="session")
def as_base64() -> Callable[[bytes], str]:
    """Base64 text of bytes."""
    return lambda data: base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def hardened(start_for_module: StartServer) -> Iterator[Server]:
    """One service for all tests of a module that don't change it."""
    with start_for_module(MAX_PIXELS=4_000_000) as server:
        yield server


def post_head(length: int, path: str = "/detect") -> bytes:
    """The head of a request with a body of `length` bytes."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def receive_answer(connection: socket.socket) -> bytes:
    """An answer with its body of one JSON object."""
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(65536)):
        answer += part
    return answer


def problem_of(response: Any, status: int, kind: str) -> dict[str, Any]:
    """The body of a problem, whose status and type must be these."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert (body["type"], body["status"]) == (kind, status)
    assert body["request_id"] == response.headers["x-request-id"]
    return body
