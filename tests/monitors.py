"""Runs a real Prometheus with the shipped rules, and promtool."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.environments import Missing

ROOT = Path(__file__).resolve().parents[1]
NARROW = {"SFD_QUEUE_LIMIT": "1", "SFD_MAX_IMAGES": "1", "SFD_MAX_BATCH": "1"}
"""Settings with one slot in the queue, so that it overflows."""


def _program(name: str, missing: Missing) -> str:
    """A program of Prometheus: from PATH, or from the folder of the tests' Docker engine."""
    engine = os.environ.get("SFD_ENGINE", "")
    found = shutil.which(name) or shutil.which(name, path=f"{engine}/prom/usr/bin")
    if not found:
        missing(f"{name} is not installed (Debian: apt-get install prometheus)")
    return found


@pytest.fixture(scope="session")
def promtool(missing: Missing) -> str:
    """Prometheus's own checker of configurations and rules."""
    return _program("promtool", missing)


@pytest.fixture(scope="session")
def prometheus(missing: Missing) -> str:
    """The server of Prometheus."""
    return _program("prometheus", missing)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], log: Path, ready: str, **variables: str) -> Iterator[None]:
    """A server that is ready; it is stopped at the end."""
    with log.open("w") as output:
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        until = time.monotonic() + 60
        while not _answers(ready):
            alive = process.poll() is None and time.monotonic() < until
            assert alive, f"{command[0]} did not become ready:\n{log.read_text()[-4000:]}"
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def run_prometheus(program: str, scrape: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Prometheus with the shipped configuration and short intervals; its address.

    `scrape` says where the service is, in place of the shipped scrape_configs.
    """
    shutil.copytree(ROOT / "docker" / "prometheus" / "rules", folder / "rules")
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8"))
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    config["rule_files"] = [str(folder / "rules" / "*.yml")]
    for path in (folder / "rules").iterdir():
        path.write_text(path.read_text("utf-8").replace("interval: 1m", "interval: 1s"), "utf-8")
    config["scrape_configs"] = [{"job_name": "sfd", **scrape}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(command, folder / "prometheus.log", f"{url}/-/ready"):
        yield url


def check_queries(service: str, monitor: str) -> None:
    """Send traffic until every query of dashboard and rules returns data."""
    photo = (ROOT / "service" / "static" / "sample.jpg").read_bytes()

    def post(content: bytes) -> int:
        return client.post(f"{service}/detect", content=content).status_code

    statuses: set[int] = set()
    until = time.monotonic() + 60
    with httpx.Client(timeout=60) as client:
        while True:
            with ThreadPoolExecutor(6) as clients:
                statuses |= set(clients.map(post, [photo] * 6))
            # Sent alone, so that the only slot in the queue is free.
            statuses.add(post(b"no image"))
            command = [sys.executable, str(ROOT / "docker" / "check_queries.py"), monitor]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0 or time.monotonic() > until:
                break
            time.sleep(1)
    assert done.returncode == 0, f"{done.stdout}{done.stderr} after answers {sorted(statuses)}"
    assert {200, 415, 503} <= statuses
