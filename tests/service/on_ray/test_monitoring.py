"""A real Prometheus finds and scrapes every replica."""

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.clusters import Cluster
from tests.conftest import MODEL
from tests.monitors import NARROW, ROOT, check_queries, run_prometheus


def by_replica(client: httpx.Client, monitor: str, query: str) -> dict[str, float]:
    """The values of a query for each replica."""
    answer = client.get(f"{monitor}/api/v1/query", params={"query": query}).json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return {each["metric"]["replica"]: float(each["value"][1]) for each in found}


def test_every_replica_reaches_one_prometheus(
    prometheus: str, cluster: Cluster, tmp_path: Path
) -> None:
    settings = NARROW | {"SFD_WORKERS": "1", "SFD_MODELS": MODEL}
    cluster.deploy(replicas=2, num_cpus=1, settings=settings)
    shipped = yaml.safe_load((ROOT / "docker/ray/prometheus.yml").read_text("utf-8"))
    (scrape,) = shipped["scrape_configs"]
    (discovery,) = scrape["http_sd_configs"]
    discovery |= {"url": f"{cluster.url}/metrics/targets", "refresh_interval": "1s"}
    first, second = cluster.replicas()
    names = {first["replica_id"], second["replica_id"]}
    with run_prometheus(prometheus, scrape, tmp_path) as monitor:
        check_queries(cluster.url, monitor)
        assert set(by_replica(cluster.client, monitor, 'up{job="sfd"} == 1')) == names
        answered = 'sfd_requests_total{job="sfd", route="/detect", status="200"}'
        cluster.wait_until(lambda: set(by_replica(cluster.client, monitor, answered)) == names)
        shown = cluster.client.get(f"{monitor}/api/v1/label/__name__/values").json()["data"]
        alone = _names(cluster.client.get(f"{cluster.url}/metrics").text)
        assert alone <= set(shown)

        os.kill(first["pid"], signal.SIGKILL)
        others = names - {first["replica_id"]}
        up = 'up{job="sfd"} == 1'
        cluster.wait_until(
            lambda: (
                len(found := set(by_replica(cluster.client, monitor, up)) - {first["replica_id"]})
                == 2
                and others < found
            )
        )


def _names(text: str) -> set[str]:
    """The names of the samples of sfd in an exposition."""
    lines = [line for line in text.splitlines() if line.startswith("sfd_")]
    return {line.replace("{", " ").split()[0] for line in lines}
