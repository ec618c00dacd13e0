"""The image and the stack, built and started once for all tests that need a Docker engine."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
STANDINS = {"nginx:1.28.0": "nginx", "grafana/grafana:11.6.0": "grafana"}
IMAGE = "sfd:test"
PROJECT = "sfdtest"
PORTS = {
    "SFD_HOST_PORT": 18000,
    "SFD_BALANCER_PORT": 18080,
    "PROMETHEUS_PORT": 19090,
    "GRAFANA_PORT": 13000,
}
ENVIRONMENT = {
    **os.environ,
    **{name: str(port) for name, port in PORTS.items()},
    "SFD_TAG": "test",
    "COMPOSE_PROJECT_NAME": PROJECT,
    # All replicas share the few cores of the test machine.
    "SFD_CPUS": str(min(2, os.cpu_count() or 1)),
}

Run = Callable[..., str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the engine, directly or through another fixture."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


def _run(*command: str, check: bool = True) -> str:
    """Run a command and return what it printed on stdout; its stderr is in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)
    if check and done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command in the checkout, with the variables of the tests' compose project."""
    return _run


@pytest.fixture(scope="session")
def engine(missing: Callable[[str], NoReturn]) -> None:
    """A Docker engine that answers."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "version"], capture_output=True).returncode == 0:
        return
    missing("no Docker engine answers")


@pytest.fixture(scope="session")
def photo() -> Path:
    """The portrait that the demo page offers: one face, in the public domain."""
    return ROOT / "service" / "static" / "sample.jpg"


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    """The image for CPUs, built from this checkout."""
    secret = []
    if configuration := os.environ.get("SFD_PIP_CONF"):
        secret = ["--secret", f"id=pip_conf,src={configuration}"]
    _run("docker", "build", *secret, "-t", IMAGE, ".")
    return IMAGE


@dataclass(frozen=True)
class Stack:
    """The running compose project."""

    detector: str = f"http://127.0.0.1:{PORTS['SFD_HOST_PORT']}"
    balancer: str = f"http://127.0.0.1:{PORTS['SFD_BALANCER_PORT']}"
    prometheus: str = f"http://127.0.0.1:{PORTS['PROMETHEUS_PORT']}"
    grafana: str = f"http://127.0.0.1:{PORTS['GRAFANA_PORT']}"

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run `docker compose` with all profiles that need no GPU."""
        return _run("docker", "compose", "--profile", "scale", *arguments, check=check)

    def container(self, service: str) -> str:
        """Id of the first container of a service."""
        return self.compose("ps", "-q", service).split()[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """The engine's description of that container."""
        described: list[dict[str, Any]] = json.loads(
            _run("docker", "inspect", self.container(service))
        )
        return described[0]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask the stack's Prometheus."""
        url = f"{self.prometheus}/api/v1/query"
        answer = httpx.get(url, params={"query": expression}, timeout=30)
        result: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return result


@pytest.fixture(scope="session")
def stack(image: str) -> Iterator[Stack]:
    """The compose project with the balancer and two replicas, up and healthy."""
    if os.environ.get("SFD_ENGINE"):
        for name, folder in STANDINS.items():
            _run("docker", "build", "-t", name, str(HERE / "standins" / folder))
    running = Stack()
    try:
        running.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180")
        yield running
    finally:
        print(running.compose("logs", "--no-color", "--tail", "20", check=False))
        running.compose("down", "--volumes", "--timeout", "5", check=False)


def _eventually(probe: Callable[[], object], seconds: float) -> object:
    """The first true result of probe(); AssertionError when the time is up."""
    until = time.monotonic() + seconds
    while not (value := probe()):
        assert time.monotonic() < until, f"not true after {seconds} s"
        time.sleep(1)
    return value


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], object], float], object]:
    """Wait for a result of another process."""
    return _eventually


@pytest.fixture(scope="session")
def load() -> Callable[..., Any]:
    """A context in which clients post the photograph continuously."""

    @contextmanager
    def under(program: list[str], url: str, photo: str) -> Iterator[list[dict[str, Any]]]:
        outcomes: list[dict[str, Any]] = []
        process = subprocess.Popen(
            [*program, url, photo, "--each"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "answered\n"
            yield outcomes
            time.sleep(3)
        finally:
            printed, _ = process.communicate("")  # the end of its input stops it
        outcomes += [json.loads(line) for line in printed.splitlines()]

    return under
