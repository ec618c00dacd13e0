"""Updates and deaths under load: every request gets an answer, and capacity comes back."""

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import httpx
import pytest

from tests.cells import NAME
from tests.clusters import SMALL, Cluster, Outcome, counts, load
from tests.conftest import MODEL, ROOT
from tests.servers import post_head, problem_of

PHOTO = ROOT / "service" / "static" / "sample.jpg"
CLIENTS = 4
PAUSE_S = 0.3
"""Without it, the clients would take the CPU time that new replicas need to start."""
PATIENT = {"SFD_TARGET_WAIT_S": 60, "SFD_REQUEST_TIMEOUT_S": 60}
"""On a busy machine the service would refuse some requests: here every 503 is one of Ray."""
LARGE = PATIENT | {"SFD_MODELS": MODEL, "SFD_WORKERS": "1", "SFD_MAX_BATCH": "1"}
"""Settings for the default model, without measuring at the start."""


@pytest.fixture
def replicas(cluster: Cluster) -> list[dict[str, object]]:
    """Two replicas of the default model, each on a node of its own."""
    cluster.deploy(replicas=2, num_cpus=1, settings=LARGE)
    return cluster.replicas()


def report(what: str, outcomes: list[Outcome], back_s: float) -> None:
    """Print the row of docs/scaling.md; `pytest -s` shows it."""
    counted = counts(outcomes)
    lost = counted.pop(0, 0)
    good = counted.pop(200, 0)
    others = ", ".join(f"{count} x {status}" for status, count in sorted(counted.items())) or "none"
    seconds = f"{max(outcome.seconds for outcome in outcomes):.1f} | {back_s:.1f}"
    print(f"\n| {what} | {len(outcomes)} | {good} | {others} | {lost} | {seconds} |")


def check(outcomes: list[Outcome]) -> None:
    """Each request has an answer: faces, or a problem that says when to try again."""
    for outcome in outcomes:
        assert outcome.status in (200, 503), outcome
        if outcome.status == 503:
            answer = httpx.Response(503, headers=outcome.headers, content=outcome.body)
            assert "may be repeated" in problem_of(answer, 503, "overloaded")["detail"]
            assert int(answer.headers["Retry-After"]) >= 1


def death(cluster: Cluster, what: str, kill: Callable[[], None]) -> None:
    """Kill something under load; check the answers, and that two replicas answer again."""
    before = {replica["replica_id"] for replica in cluster.replicas()}
    with load(cluster.url, PHOTO.read_bytes(), CLIENTS, PAUSE_S) as outcomes:
        cluster.wait_until(lambda: len({o.headers.get("X-Replica") for o in outcomes}) == 2)
        kill()
        at = time.monotonic()

        def new_one_answers() -> bool:
            found = [o for o in list(outcomes) if o.sent > at and o.status == 200]
            by = {o.headers["X-Replica"] for o in found}
            return len(by) >= 2 and bool(by - before)

        cluster.wait_until(new_one_answers)
        back = time.monotonic() - at
    report(what, outcomes, back)
    check(outcomes)
    assert len(cluster.replicas()) == 2


def totals(cluster: Cluster) -> Mapping[str, float]:
    """The samples of all replicas together."""
    total: defaultdict[str, float] = defaultdict(float)
    for group in cluster.client.get(f"{cluster.url}/metrics/targets").json():
        text = cluster.client.get(f"http://{group['targets'][0]}/metrics").text
        for line in text.splitlines():
            if line.startswith("sfd_"):
                name, _, value = line.rpartition(" ")
                total[name] += float(value)
    return total


def test_clients_that_leave_are_counted_as_such(
    cluster: Cluster, replicas: list[dict[str, object]]
) -> None:
    """Ray cancels their requests, as the service does with those that outlast its grace time."""
    photo = PHOTO.read_bytes()
    address = ("127.0.0.1", int(cluster.url.rpartition(":")[2]))
    with ExitStack() as open_connections:
        for _ in range(30):
            client = open_connections.enter_context(socket.create_connection(address))
            client.sendall(post_head(len(photo)) + photo)
        cluster.wait_until(lambda: totals(cluster)["sfd_in_flight"] >= 10)
    cluster.wait_until(lambda: totals(cluster)["sfd_in_flight"] == 0)
    counted = totals(cluster)
    assert counted['sfd_requests_total{route="/detect",status="499"}'] >= 1
    assert counted['sfd_requests_total{route="/detect",status="503"}'] == 0
    assert counted['sfd_rejected_total{reason="overloaded"}'] == 0


def test_the_death_of_a_replica_costs_only_the_requests_that_it_held(
    cluster: Cluster, replicas: list[dict[str, object]]
) -> None:
    pid = int(str(replicas[0]["pid"]))
    death(cluster, "SIGKILL of a replica", lambda: os.kill(pid, signal.SIGKILL))


def test_the_death_of_a_node_costs_only_the_requests_that_it_held(
    cluster: Cluster, replicas: list[dict[str, object]]
) -> None:
    cluster.add_node(1)
    node = str(replicas[0]["node_id"])
    death(cluster, "death of a node", lambda: cluster.kill_node(node))


def test_a_new_version_takes_over_without_a_failed_request(
    cluster: Cluster, replicas: list[dict[str, object]]
) -> None:
    before = {replica["replica_id"] for replica in replicas}
    with load(cluster.url, PHOTO.read_bytes(), CLIENTS, PAUSE_S) as outcomes:
        cluster.wait_until(lambda: len({o.headers.get("X-Replica") for o in outcomes}) == 2)
        cluster.serve_deploy(replicas=2, num_cpus=1, settings=PATIENT | SMALL)
        at = time.monotonic()
        cluster.wait_until(
            lambda: (
                len(cluster.replicas()) == 2
                and not before & {replica["replica_id"] for replica in cluster.replicas()}
            )
        )
        took = time.monotonic() - at
        until = len(outcomes)
        cluster.wait_until(lambda: len(outcomes) > until + CLIENTS)
    report("new version of the model", outcomes, took)
    assert counts(outcomes).keys() == {200}, [o for o in outcomes if o.status != 200]
    assert {outcome.model for outcome in outcomes[:until]} == {MODEL, NAME}
    assert outcomes[-1].model == NAME
