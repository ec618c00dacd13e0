"""Slow, stalled, flooding and invalid connections, over real sockets against `python -m
service`."""

import io
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.servers import Server, StartServer, post_head, receive_answer

MIB = 2**20
Cells = Callable[..., bytes]


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


@pytest.fixture(scope="module")
def impatient(start_for_module: StartServer) -> Iterator[Server]:
    """A service that waits only briefly for the head of a request, and for who reads an answer."""
    before = "import service.connections as c; c.HEAD_S = 1.0; c.STALL_S = 2.0"
    with start_for_module(before, MAX_BYTES=30 * MIB) as server:
        yield server


# --- the head of a request


def test_connections_without_a_whole_request_head_are_closed_in_time(impatient: Server) -> None:
    impatient.wait_until_idle()
    files = impatient.open_files()
    silent = [impatient.connect() for _ in range(100)]
    half = [impatient.connect() for _ in range(20)]
    for connection in half:
        connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nX-")
    used = impatient.connect()
    used.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"alive" in receive_answer(used)
    crawling = impatient.connect()
    started = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() < started + 10:
            used.sendall(b"G" if time.monotonic() < started + 0.3 else b"E")
            crawling.sendall(b"x")
            assert httpx.get(f"{impatient.url}/readyz").status_code == 200
            time.sleep(0.1)
    assert time.monotonic() - started < 5
    assert all(was_closed(each, 5) for each in (*silent, *half, used, crawling))
    assert impatient.open_files() < files + 5


def test_a_head_in_two_pieces_and_an_idle_connection_are_fine(impatient: Server) -> None:
    connection = impatient.connect()
    for _ in range(2):
        connection.sendall(b"GET /livez HT")
        time.sleep(0.1)
        connection.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert b"alive" in receive_answer(connection)
        time.sleep(1.2)
    connection.close()


# --- the reading of an answer


@cache
def noise() -> bytes:
    """A picture whose file is large in every format."""
    file = io.BytesIO()
    Image.frombytes("RGB", (2600, 2600), os.urandom(3 * 2600 * 2600)).save(file, "BMP")
    return file.getvalue()


def test_a_client_that_does_not_read_its_answer_is_disconnected(impatient: Server) -> None:
    data = noise()
    batches = impatient.metrics()["sfd_batch_size_count"]
    files = impatient.open_files()
    connection = impatient.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = b"POST /detect?render=boxes HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n"
    connection.sendall(head + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    impatient.wait_for("sfd_batch_size_count", batches + 1)
    impatient.wait_until_idle()
    # The kernel may still deliver its buffer; the service holds neither answer nor socket.
    assert impatient.open_files() <= files + 2
    assert httpx.get(f"{impatient.url}/readyz").status_code == 200


@pytest.mark.parametrize("fate", ["keep-alive", "close"])
def test_a_client_that_reads_slowly_but_steadily_gets_its_whole_answer(
    impatient: Server, fate: str
) -> None:
    data = noise()
    connection = impatient.connect()
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
        # Five megabytes per second: the whole takes longer than a client may stall.
        part = connection.recv(256 * 1024)
        assert part, "cut off"
        answer += part
        time.sleep(0.05 * len(part) / (256 * 1024))
    assert time.monotonic() - started > 3
    connection.close()


# --- what is not HTTP/1.1, or too much of it


def test_an_offer_of_http_2_is_answered_by_http_1_without_a_log_line(
    hardened: Server, bright_cells: Cells
) -> None:
    data = bright_cells(1)
    connection = hardened.connect()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = post_head(len(data)).replace(b"\r\n\r\n", b"\r\n" + offer + b"\r\n")
    connection.sendall(head + data)
    assert connection.recv(12) == b"HTTP/1.1 200"
    assert "pgrade" not in hardened.complete_log()


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
def test_a_flood_before_the_app_is_bounded_too(
    hardened: Server, first: bytes, flood: bytes
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
def test_input_that_is_not_http_gets_a_400_and_closes_the_connection(
    hardened: Server, request_bytes: bytes
) -> None:
    with hardened.connect(timeout=5) as connection:
        connection.sendall(request_bytes)
        assert connection.recv(12) == b"HTTP/1.1 400"
        assert was_closed(connection, 5)
    assert "Traceback" not in hardened.complete_log()


def test_a_broken_chunk_ends_the_request_without_a_traceback(hardened: Server) -> None:
    with hardened.connect(timeout=5) as connection:
        connection.sendall(
            b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(b"4\r\nabcd\r\nnonsense\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
        assert was_closed(connection, 5)
    hardened.wait_until_idle()
    assert "Traceback" not in hardened.complete_log()


# --- the end of a connection


@pytest.mark.parametrize(
    "path", ["/detect", "/v2/models/cells/infer", "/nowhere"], ids=["detect", "infer", "404"]
)
def test_what_follows_a_request_with_two_lengths_is_not_served(hardened: Server, path: str) -> None:
    second = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with hardened.connect(timeout=5) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n".encode()
            + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + second
        )
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(MIB):
                answer += part
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.lower().count(b"connection: close") == 1
    assert answer.count(b"HTTP/1.1") == 1
    assert b"alive" not in answer


def test_answers_while_the_service_drains_say_that_the_connection_ends(
    start_server: Any, holding: Callable[[Path], str], bright_cells: Cells, tmp_path: Path
) -> None:
    data, go_on = bright_cells(3), tmp_path / "go_on"
    with start_server(holding(go_on)) as server:
        busy = server.connect()
        busy.sendall(post_head(len(data)) + data)
        server.wait_for("sfd_batch_size_count", 1)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        while "SIGTERM" not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        go_on.touch()
        answer = b""
        while part := busy.recv(65536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert server.process.wait(20) == 0


def test_answers_before_the_service_drains_keep_the_connection(hardened: Server) -> None:
    assert "connection" not in httpx.get(f"{hardened.url}/livez").headers
