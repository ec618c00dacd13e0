"""What a client sees when it is not a replica that answers."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests.clusters import PATIENCE_S, SMALL, Cluster, counts, load
from tests.servers import problem_of

Cells = Callable[..., bytes]
NARROW = SMALL | {"SFD_QUEUE_LIMIT": "16", "SFD_MAX_IMAGES": "1"}
"""Settings with which a replica takes 88 requests: 16 wait, 8 are in inference, 64 are spare."""
TAKEN = 88


@pytest.fixture(scope="module")
def cluster(started: Cluster) -> Cluster:
    """One replica, on a node of its own."""
    started.clear(nodes=1)
    started.deploy(replicas=1, num_cpus=1, settings=NARROW)
    return started


def test_a_refusal_of_the_replica_reaches_the_client_as_it_is(
    cluster: Cluster, bright_cells: Cells
) -> None:
    answer = httpx.post(
        f"{cluster.url}/detect",
        content=bright_cells(1),
        headers={"X-Request-ID": "mine"},
        params={"model": "nobody"},
        timeout=60,
    )
    assert problem_of(answer, 404, "unknown-model")["request_id"] == "mine"
    assert "X-Replica" in answer.headers


def test_the_only_replica_is_replaced_while_requests_wait_for_the_next(
    cluster: Cluster, bright_cells: Cells
) -> None:
    before = cluster.replicas()[0]["replica_id"]
    with load(cluster.url, bright_cells(1), clients=2, pause_s=0.1) as outcomes:
        cluster.wait_until(lambda: len(outcomes) > 2)
        cluster.start_deploy(replicas=1, num_cpus=1, settings=NARROW | {"SFD_MAX_WAIT_MS": "4"})
        cluster.wait_until(
            lambda: [each["replica_id"] != before for each in cluster.replicas()] == [True]
        )
        until = len(outcomes)
        cluster.wait_until(lambda: len(outcomes) > until + 2)
    assert counts(outcomes).keys() == {200}
    assert {outcome.headers["X-Replica"] for outcome in outcomes} > {before}


def test_while_no_replica_runs_requests_wait_and_further_ones_are_refused_by_ray(
    cluster: Cluster, bright_cells: Cells
) -> None:
    cluster.kill_node(cluster.replicas()[0]["node_id"])
    cluster.wait_until(lambda: not cluster.replicas())

    async def fill_and_come_back() -> tuple[httpx.Response, list[httpx.Response]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=cluster.url, timeout=PATIENCE_S, limits=limits
        ) as client:

            async def post() -> httpx.Response:
                return await client.post("/detect", content=bright_cells(1))

            waiting = [asyncio.create_task(post()) for _ in range(TAKEN)]
            refused = None
            while refused is None:
                # One that is not refused waits too.
                waiting.append(asyncio.create_task(post()))
                done, _ = await asyncio.wait(waiting, timeout=0.2)
                refused = next(iter(done)).result() if done else None
            await asyncio.to_thread(cluster.add_node, 1)
            return refused, await asyncio.gather(*waiting)

    refused, answers = asyncio.run(fill_and_come_back())
    assert "every replica is busy" in problem_of(refused, 503, "overloaded")["detail"]
    assert refused.headers["Retry-After"] == "1"
    assert "X-Replica" not in refused.headers
    # The new replica refuses those that do not fit its queue: they arrive at the same time.
    waited = [answer for answer in answers if "X-Replica" in answer.headers]
    assert len(waited) >= TAKEN
    assert {answer.status_code for answer in waited} <= {200, 503}
    assert 200 in {answer.status_code for answer in waited}
