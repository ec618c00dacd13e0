"""Clients that vanish, crawl or flood: the others are served, and the costs are bounded.

All over real sockets against `python -m service`; each limit is reached with small settings.
"""

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.pace import MOST_S, PER_SECOND
from tests.servers import Server, StartServer, post_head, receive_answer

MIB = 2**20
Cells = Callable[..., bytes]
Sleeping = Callable[[object], str]


# --- clients that disconnect


def test_a_client_that_leaves_while_it_waits_is_dropped_before_inference(
    start_server: Any, holding: Callable[[Path], str], bright_cells: Cells, tmp_path: Path
) -> None:
    data, go_on = bright_cells(3), tmp_path / "go_on"
    with start_server(holding(go_on), MAX_BATCH=1) as server:
        busy = server.connect()
        busy.sendall(post_head(len(data)) + data)
        server.wait_for("sfd_batch_size_count", 1)
        leaving = [server.connect() for _ in range(5)]
        for connection in leaving:
            connection.sendall(post_head(len(data)) + data)
        server.wait_for("sfd_queue_depth", 5)
        for connection in leaving:
            connection.close()
        server.wait_for('sfd_requests_total{route="/detect",status="499"}', 5)
        assert server.metrics()["sfd_queue_depth"] == 0
        go_on.touch()
        assert busy.recv(12) == b"HTTP/1.1 200"
        assert httpx.post(f"{server.url}/detect", content=data).status_code == 200
        server.wait_until_idle()
        found = server.metrics()
        assert found["sfd_batch_size_count"] == 2
        assert found['sfd_rejected_total{reason="client-gone"}'] == 5


@pytest.fixture(scope="module")
def with_little_memory(start_for_module: StartServer, sleeping: Sleeping) -> Iterator[Server]:
    """A slow service that holds few bytes of bodies."""
    with start_for_module(sleeping(0.2), MAX_BYTES=2 * MIB, TARGET_WAIT_S=30) as server:
        yield server


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["head", "half a body", "whole body"])
def test_a_client_that_resets_its_connection_leaves_nothing_behind(
    with_little_memory: Server, bright_cells: Cells, share: float
) -> None:
    server = with_little_memory
    data = bright_cells(3, size=800, kind="BMP")
    # More bytes than memory may hold at the same time: none of them may stay counted.
    for _ in range(20):
        connection = server.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(post_head(len(data)) + data[: int(len(data) * share)])
        if share == 1:
            time.sleep(0.02)
        connection.close()
    server.wait_until_idle()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        assert [client.post("/detect", content=data).status_code for _ in range(3)] == [200] * 3
    assert "Traceback" not in server.complete_log()


# --- slow clients


def test_many_slow_uploads_do_not_block_other_clients(
    start_server: Any, bright_cells: Cells
) -> None:
    with start_server(REQUEST_TIMEOUT_S=2, QUEUE_LIMIT=32) as server:
        slow = [server.connect() for _ in range(64)]
        for connection in slow:
            connection.sendall(post_head(1000))
        for _ in range(5):
            for connection in slow:
                connection.sendall(b"\xff")
            answer = httpx.post(f"{server.url}/detect", content=bright_cells(1))
            assert answer.status_code == 200
            time.sleep(0.05)
        for connection in slow:
            assert connection.recv(12) == b"HTTP/1.1 504"
            connection.close()
        server.wait_until_idle()
        assert server.metrics()['sfd_rejected_total{reason="timeout"}'] == 64


def test_the_deadline_is_kept_and_late_images_are_not_inferred(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    with start_server(
        sleeping("8 * bool(images[0].max() == 255)"),
        MAX_BATCH=1,
        REQUEST_TIMEOUT_S=2,
    ) as server:

        async def ask(client: httpx.AsyncClient) -> tuple[int, str, float]:
            started = time.monotonic()
            answer = await client.post("/detect", content=bright_cells(1))
            return answer.status_code, answer.json()["type"], time.monotonic() - started

        async def all_at_once() -> list[tuple[int, str, float]]:
            async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
                return await asyncio.gather(*(ask(client) for _ in range(5)))

        for status, kind, seconds in asyncio.run(all_at_once()):
            assert (status, kind) == (504, "timeout")
            # Long before the batch ends, even on a slow machine.
            assert 1.9 < seconds < 7
        server.wait_until_idle()
        assert server.metrics()["sfd_batch_size_count"] == 1


# --- clients that flood


def test_500_simultaneous_requests_are_each_counted_as_answered(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    data = bright_cells(3, size=300, kind="BMP")
    with start_server(sleeping(0.1), QUEUE_LIMIT=32) as server:
        before = server.memory("VmHWM")

        async def post() -> httpx.Response:
            # A client for each: one client takes ever longer to choose among its connections.
            async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                return await client.post(f"{server.url}/detect", content=data)

        async def storm() -> list[httpx.Response]:
            return await asyncio.gather(*(post() for _ in range(500)))

        answers = asyncio.run(storm())
        seen = Counter(answer.status_code for answer in answers)
        assert set(seen) == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["type"] == "overloaded"
                # The predicted wait, which is longer on a busy machine.
                assert int(answer.headers["retry-after"]) in range(1, 31)
            else:
                assert len(answer.json()["faces"]) == 1
        server.wait_until_idle()
        found = server.metrics()
        for status, count in seen.items():
            assert found[f'sfd_requests_total{{route="/detect",status="{status}"}}'] == count
        assert found['sfd_rejected_total{reason="overloaded"}'] == seen[503]
        assert found["sfd_faces_total"] == seen[200]
        assert server.memory("VmHWM") - before < 300 * MIB
        assert httpx.post(f"{server.url}/detect", content=data).status_code == 200


def test_clients_that_repeat_at_once_are_refused_at_a_pace_and_keep_most_connections(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    data = bright_cells(3)

    def repeat(url: str) -> Counter[object]:
        seen: Counter[object] = Counter()
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            while time.monotonic() < end:
                answer = client.post("/detect", content=data)
                seen[answer.status_code] += 1
                # On a busy machine a body may take longer than the service waits for it.
                seen["closed"] += "connection" in answer.headers
        return seen

    with (
        start_server(sleeping(0.1), QUEUE_LIMIT=2, MAX_IMAGES=2, WORKERS=1) as server,
        ThreadPoolExecutor(16) as pool,
    ):
        started = time.monotonic()
        end = started + 3
        seen: Counter[object] = sum(pool.map(repeat, [server.url] * 16), Counter())
        assert set(seen) - {"closed"} == {200, 503}
        assert seen["closed"] < 0.2 * seen[503]
        most = (time.monotonic() - started + 2 * MOST_S) * PER_SECOND + 16
        assert seen[503] <= most


def test_the_bodies_of_all_clients_together_are_bounded(start_server: Any) -> None:
    body = bytes(4 * MIB - 1)
    with start_server(MAX_BYTES=4 * MIB) as server:
        before = server.memory("VmHWM")
        head = post_head(4 * MIB)
        clients = [server.connect() for _ in range(80)]
        statuses = []
        for number, client in enumerate(clients):
            with suppress(ConnectionError):
                client.sendall(head + body)
            # The first are held without an answer.
            client.settimeout(0.02 if number < 16 else 5)
            with suppress(TimeoutError, ConnectionError):
                # Its head and its body may come in two pieces.
                answer = receive_answer(client)
                statuses.append(answer.split()[1])
                assert b"too many uploads" in answer
                assert b"retry-after: 1" in answer.lower()
        # 16 bodies are held, and 320 MiB were sent.
        assert set(statuses) == {b"503"}
        assert len(statuses) >= 60
        assert server.memory("VmHWM") - before < 130 * MIB
        for client in clients:
            client.close()
        server.wait_until_idle()
        assert httpx.post(f"{server.url}/detect", content=b"\xff").status_code == 400
