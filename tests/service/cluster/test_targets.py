import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter
from starlette.testclient import TestClient

from service.cluster import targets
from service.cluster.targets import Group


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_metrics_of_a_process_are_at_its_target(host: str) -> None:
    registry = CollectorRegistry()
    Counter("sfd_some", "Some.", registry=registry).inc(3)
    group = targets.listen(registry, host, "abc")
    assert group["labels"] == {"replica": "abc"}
    assert "sfd_some_total 3.0" in httpx.get(f"http://{group['targets'][0]}/metrics").text


def test_a_replica_that_died_a_moment_ago_is_left_out() -> None:
    group = {"targets": ["192.0.2.1:9000"], "labels": {"replica": "abc"}}

    async def collect() -> list[object]:
        return [group, RuntimeError("it died"), TimeoutError()]

    app = FastAPI()
    app.include_router(targets.router)
    app.state.collect_targets = collect
    listed: list[Group] = TestClient(app).get("/metrics/targets").json()
    assert listed == [group]
