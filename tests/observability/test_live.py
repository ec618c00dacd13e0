"""A real Prometheus scrapes a real service, and every query of dashboard and rules has data."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.clusters import Cluster, run_cluster
from tests.monitors import ROOT, free_port, run_prometheus, running

NARROW = {"SFD_QUEUE_LIMIT": "1", "SFD_MAX_IMAGES": "1", "SFD_MAX_BATCH": "1"}
"""One slot in the queue, so that it overflows."""


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


def check_queries(service: str, monitor: str) -> None:
    """Send traffic until every query of dashboard and rules returns data."""
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


def test_every_query_of_dashboard_and_rules_returns_data(service: str, monitor: str) -> None:
    check_queries(service, monitor)


@pytest.fixture
def cluster(has_ray: None, built_model: Path) -> Iterator[Cluster]:
    """The service on a Ray cluster, with two replicas."""
    with run_cluster(2, {"SFD_MODEL_STORE": str(built_model.parents[1])}) as started:
        started.deploy(replicas=2, num_cpus=1, settings=NARROW)
        yield started


def by_replica(monitor: str, query: str) -> dict[str, float]:
    """The values of a query for each replica."""
    answer = httpx.get(f"{monitor}/api/v1/query", params={"query": query}, timeout=20).json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return {each["metric"]["replica"]: float(each["value"][1]) for each in found}


def test_every_replica_of_a_ray_cluster_reaches_one_prometheus(
    prometheus: str, cluster: Cluster, tmp_path: Path
) -> None:
    shipped = yaml.safe_load((ROOT / "docker/ray/prometheus.yml").read_text("utf-8"))
    (scrape,) = shipped["scrape_configs"]
    (discovery,) = scrape["http_sd_configs"]
    discovery |= {"url": f"{cluster.url}/metrics/targets", "refresh_interval": "1s"}
    first, second = cluster.replicas()
    names = {first["replica_id"], second["replica_id"]}
    with run_prometheus(prometheus, scrape, tmp_path) as monitor:
        check_queries(cluster.url, monitor)
        assert set(by_replica(monitor, 'up{job="sfd"} == 1')) == names
        answered = 'sfd_requests_total{job="sfd", route="/detect", status="200"}'
        cluster.wait_until(lambda: set(by_replica(monitor, answered)) == names)
        shown = httpx.get(f"{monitor}/api/v1/label/__name__/values", timeout=20).json()["data"]
        alone = _names(httpx.get(f"{cluster.url}/metrics", timeout=20).text)
        assert alone <= set(shown)

        os.kill(first["pid"], signal.SIGKILL)
        others = names - {first["replica_id"]}
        up = 'up{job="sfd"} == 1'
        cluster.wait_until(
            lambda: (
                len(found := set(by_replica(monitor, up)) - {first["replica_id"]}) == 2
                and others < found
            )
        )


def _names(text: str) -> set[str]:
    """The names of the samples of sfd in an exposition."""
    lines = [line for line in text.splitlines() if line.startswith("sfd_")]
    return {line.replace("{", " ").split()[0] for line in lines}
