"""Clients that disconnect, are slow, flood or send garbage: others are served, costs are bounded.

All tests use real sockets and `python -m service`. Small settings make each limit easy to reach.
"""

import asyncio
import io
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

MIB = 2**20
Cells = Callable[..., bytes]
Sleeping = Callable[[object], str]


def post_head(length: int, path: str = "/detect") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def receive_answer(connection: socket.socket) -> bytes:
    """An answer with its body of one JSON object."""
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(65536)):
        answer += part
    return answer


def was_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(MIB):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


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


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["head", "half a body", "whole body"])
def test_a_client_that_resets_its_connection_leaves_nothing_behind(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells, share: float
) -> None:
    data = bright_cells(3, size=800, kind="BMP")
    with start_server(sleeping(0.2), MAX_BYTES=2 * MIB) as server:
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
        assert "Traceback" not in server.log.read_text()


# --- slow clients


def test_connections_without_a_whole_request_head_are_closed_in_time(start_server: Any) -> None:
    with start_server("import service.connections as c; c.HEAD_S = 1.0") as server:
        files = server.open_files()
        silent = [server.connect() for _ in range(100)]
        half = [server.connect() for _ in range(20)]
        for connection in half:
            connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nX-")
        used = server.connect()
        used.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in receive_answer(used)
        crawling = server.connect()
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() < started + 10:
                used.sendall(b"G" if time.monotonic() < started + 0.3 else b"E")
                crawling.sendall(b"x")
                assert httpx.get(f"{server.url}/readyz").status_code == 200
                time.sleep(0.1)
        assert time.monotonic() - started < 5
        assert all(was_closed(each, 5) for each in (*silent, *half, used, crawling))
        assert server.open_files() < files + 5


def test_a_head_in_two_pieces_and_an_idle_connection_are_fine(start_server: Any) -> None:
    with start_server("import service.connections as c; c.HEAD_S = 1.0") as server:
        connection = server.connect()
        for _ in range(2):
            connection.sendall(b"GET /livez HT")
            time.sleep(0.1)
            connection.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert b"alive" in receive_answer(connection)
            time.sleep(1.2)


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


def test_a_client_that_does_not_read_its_answer_is_disconnected(start_server: Any) -> None:
    noise = io.BytesIO()
    Image.frombytes("RGB", (2600, 2600), os.urandom(3 * 2600 * 2600)).save(noise, "BMP")
    data = noise.getvalue()
    with start_server(
        "import service.connections as c; c.STALL_S = 1.0", MAX_BYTES=30 * MIB
    ) as server:
        files = server.open_files()
        connection = server.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = b"POST /detect?render=boxes HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n"
        connection.sendall(head + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        server.wait_for("sfd_batch_size_count", 1)
        server.wait_until_idle()
        # The kernel may still send what it has; the service keeps neither answer nor socket.
        assert server.open_files() <= files + 2
        assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("fate", ["keep-alive", "close"])
def test_a_client_that_reads_slowly_but_steadily_gets_its_whole_answer(
    start_server: Any, fate: str
) -> None:
    noise = io.BytesIO()
    Image.frombytes("RGB", (2600, 2600), os.urandom(3 * 2600 * 2600)).save(noise, "BMP")
    data = noise.getvalue()
    before = "import service.connections as c; c.STALL_S = 2.0"
    with start_server(before, MAX_BYTES=30 * MIB) as server:
        connection = server.connect()
        head = b"POST /detect?render=boxes HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n"
        head += f"Connection: {fate}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        connection.sendall(head + data)
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        assert length > 15 * MIB
        whole = answer.index(b"\r\n\r\n") + 4 + length
        started = time.monotonic()
        while len(answer) < whole:
            # Five megabytes per second: in total that takes longer than a client may stall.
            part = connection.recv(256 * 1024)
            assert part, "cut off"
            answer += part
            time.sleep(0.05 * len(part) / (256 * 1024))
        assert time.monotonic() - started > 3


def test_an_offer_of_http_2_is_answered_by_http_1_without_a_log_line(
    start_server: Any, bright_cells: Cells
) -> None:
    data = bright_cells(1)
    with start_server("") as server:
        connection = server.connect()
        offer = (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        )
        head = post_head(len(data)).replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n")
        connection.sendall(head + data)
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert "pgrade" not in server.log.read_text()


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


def test_each_of_500_simultaneous_requests_is_counted_under_its_status(
    start_server: Any, sleeping: Sleeping, bright_cells: Cells
) -> None:
    data = bright_cells(3, size=300, kind="BMP")
    with start_server(sleeping(0.1), QUEUE_LIMIT=32) as server:
        before = server.memory("VmHWM")

        async def storm() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=500)
            async with httpx.AsyncClient(
                base_url=server.url, timeout=60, limits=limits, trust_env=False
            ) as client:
                return await asyncio.gather(
                    *(client.post("/detect", content=data) for _ in range(500))
                )

        answers = asyncio.run(storm())
        seen = Counter(answer.status_code for answer in answers)
        assert set(seen) == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["type"] == "overloaded"
                assert int(answer.headers["retry-after"]) >= 1
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


@pytest.mark.parametrize(
    ("first", "flood"),
    [
        (b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2000),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"y" * 65536),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"y: z\r\n" * 10000),
        (b"GET /", b"y" * 65536),
        (
            b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"y: z\r\n" * 10000,
        ),
        (
            b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;" + b"y" * 65536,
        ),
    ],
    ids=["pipelined requests", "a header", "headers", "a path", "trailers", "a chunk extension"],
)
def test_a_flood_that_the_app_never_sees_is_limited_too(
    hardened: Any, first: bytes, flood: bytes
) -> None:
    hardened.forget_peak()
    before = hardened.memory()
    with hardened.connect(timeout=0.2) as connection:
        connection.sendall(first)
        ends = time.monotonic() + 2
        with suppress(ConnectionError):
            while time.monotonic() < ends:
                with suppress(TimeoutError):
                    connection.send(flood)
    assert hardened.memory("VmHWM") - before < 30 * MIB
    hardened.wait_until_idle()
    assert httpx.get(f"{hardened.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"hello\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",  # no Host
        b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 400_000 + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_get_a_400_and_the_connection_is_closed(
    hardened: Any, request_bytes: bytes
) -> None:
    with hardened.connect(timeout=5) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(12) == b"HTTP/1.1 400"
        assert was_closed(connection, 5)
    assert "Traceback" not in hardened.log.read_text()


def test_a_broken_chunk_ends_the_request_without_a_traceback(hardened: Any) -> None:
    with hardened.connect(timeout=5) as connection:
        connection.sendall(
            b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(b"4\r\nabcd\r\nnonsense\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
        assert was_closed(connection, 5)
    hardened.wait_until_idle()
    assert "Traceback" not in hardened.log.read_text()
