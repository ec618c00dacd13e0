"""A real Prometheus scrapes a real service, and every query of dashboard and rules has data."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: list[str], log: Path, ready: str, **variables: str) -> Iterator[None]:
    """A server that is ready; it is stopped at the end."""
    with log.open("w") as output:
        environment = {**os.environ, **variables}
        running = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        until = time.monotonic() + 60
        while not _answers(ready):
            alive = running.poll() is None and time.monotonic() < until
            assert alive, f"{command[0]} did not become ready:\n{log.read_text()[-4000:]}"
            time.sleep(0.2)
        yield
    finally:
        running.terminate()
        running.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """The service as `sfd serve` starts it, with one slot in the queue so that it overflows."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with _process(
        [sys.executable, "-m", "sfd", "serve"],
        tmp_path / "service.log",
        f"{url}/readyz",
        SFD_PORT=str(port),
        SFD_QUEUE_LIMIT="1",
        SFD_MAX_IMAGES="1",
        SFD_MAX_BATCH="1",
    ):
        yield url


@pytest.fixture
def monitor(prometheus: str, service: str, tmp_path: Path) -> Iterator[str]:
    """Prometheus with the shipped configuration, for this service and with short intervals."""
    shutil.copytree(ROOT / "docker" / "prometheus" / "rules", tmp_path / "rules")
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text("utf-8"))
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    config["rule_files"] = [str(tmp_path / "rules" / "*.yml")]
    for path in (tmp_path / "rules").iterdir():
        path.write_text(path.read_text("utf-8").replace("interval: 1m", "interval: 1s"), "utf-8")
    target = {"targets": [service.removeprefix("http://")]}
    config["scrape_configs"] = [{"job_name": "sfd", "static_configs": [target]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        prometheus,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _process(command, tmp_path / "prometheus.log", f"{url}/-/ready"):
        yield url


def test_every_query_of_dashboard_and_rules_returns_data(service: str, monitor: str) -> None:
    photo = (ROOT / "service" / "static" / "sample.jpg").read_bytes()

    def post(content: bytes) -> int:
        return httpx.post(f"{service}/detect", content=content, timeout=60).status_code

    statuses: set[int] = set()
    until = time.monotonic() + 60
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
