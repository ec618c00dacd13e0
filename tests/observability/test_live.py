"""A real Prometheus scrapes a real service, and every query of dashboard and rules has data."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitors import NARROW, check_queries, free_port, run_prometheus, running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """The service as `sfd serve` starts it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "sfd", "serve"]
    log = tmp_path / "service.log"
    with running(command, log, f"{url}/readyz", SFD_PORT=str(port), **NARROW):
        yield url


@pytest.fixture
def monitor(prometheus: str, service: str, tmp_path: Path) -> Iterator[str]:
    """Prometheus for this service."""
    targets = [{"targets": [service.removeprefix("http://")]}]
    with run_prometheus(prometheus, {"static_configs": targets}, tmp_path) as url:
        yield url


def test_every_query_of_dashboard_and_rules_returns_data(service: str, monitor: str) -> None:
    check_queries(service, monitor)
