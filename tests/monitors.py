"""Runs a real Prometheus with the shipped rules."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[1]


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
