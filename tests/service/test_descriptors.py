"""The watch over the limit of open files, and what happens to connections there."""

import asyncio
import logging
import os
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from service.accepting import Acceptor
from service.descriptors import Descriptors
from tests.servers import Server, StartServer, post_head, receive_answer

if sys.platform != "linux":
    pytest.skip("limits another process, which only Linux can", allow_module_level=True)


@pytest.fixture
def few_files() -> Iterator[None]:
    """This process at its limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_is_counted_and_logged_once_while_it_lasts(
    few_files: None, caplog: pytest.LogCaptureFixture
) -> None:
    reached = []
    descriptors = Descriptors(lambda: reached.append(1))
    with caplog.at_level(logging.INFO):
        descriptors.check()
        descriptors.check()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + 150, hard))
        descriptors.check()
        descriptors.check()
    assert reached == [1]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"the limit of {soft} open files is nearly reached")
    assert second == "new connections are accepted again"


def test_a_limit_that_comes_and_goes_is_logged_rarely_and_always_counted(
    few_files: None, caplog: pytest.LogCaptureFixture
) -> None:
    reached, now = [], [0.0]
    descriptors = Descriptors(lambda: reached.append(1), lambda: now[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for _ in range(11):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        descriptors.check()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + 150, hard))
        descriptors.check()
        now[0] += 1
    assert len(reached) == 11
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2


def wait_for_line(server: Server, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(params=["default", "asyncio"])
def before(request: pytest.FixtureRequest) -> str:
    """Python that chooses the event loop of a service."""
    return "" if request.param == "default" else "import sys; sys.modules['uvloop'] = None"


def limit_files(server: Server, more: int) -> int:
    """Let the service open only some more files than it holds. Returns the limit."""
    files = server.open_files() + more
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files, files + 1000))
    return files


def test_a_service_at_its_limit_of_open_files_says_so_and_recovers(
    start_server: StartServer, before: str
) -> None:
    with start_server(before) as server:
        files = limit_files(server, 10)
        connections: list[socket.socket] = [server.connect() for _ in range(40)]
        wait_for_line(server, f"the limit of {files} open files is nearly reached")
        for connection in connections:
            connection.close()
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        wait_for_line(server, "new connections are accepted again")
        assert server.metrics()["sfd_file_limits_total"] >= 1
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()
        assert len(server.log.read_text().splitlines()) < 40


def test_all_of_many_clients_at_once_are_answered_at_the_limit(
    start_server: StartServer, before: str, bright_cells: Callable[..., bytes]
) -> None:
    picture = bright_cells(5)
    request = post_head(len(picture)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with start_server(before) as server:
        files = limit_files(server, 10)
        connections = [server.connect(timeout=60) for _ in range(60)]
        for connection in connections:
            connection.sendall(request + picture)
        statuses = Counter(receive_answer(each).split()[1] for each in connections)
        assert set(statuses) <= {b"200", b"503"}
        assert statuses[b"200"] >= 1
        assert f"the limit of {files} open files is nearly reached" in server.complete_log()
        assert server.metrics()["sfd_file_limits_total"] >= 1
        connection = server.connect()
        connection.sendall(request + picture)
        assert receive_answer(connection).startswith(b"HTTP/1.1 200")


def test_a_service_with_only_its_reserve_left_takes_one_connection_after_the_other(
    start_server: StartServer, before: str
) -> None:
    with start_server(before) as server:
        limit_files(server, 1)
        for _ in range(3):
            assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200


def test_waiting_connections_do_not_delay_the_end_of_a_service(
    start_server: StartServer, before: str
) -> None:
    with start_server(before) as server:
        files = limit_files(server, 10)
        for _ in range(40):
            server.connect()
        wait_for_line(server, f"the limit of {files} open files is nearly reached")
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()


def test_connections_send_small_parts_at_once(before: str) -> None:
    """They have TCP_NODELAY."""
    made = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connection = transport.get_extra_info("socket")
            made.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def accept_one() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(listener, Protocol, Descriptors(lambda: None), [])
            acceptor.resume()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b""
            writer.close()
            await acceptor.close()

    factory = None if before else uvicorn.Config("", loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(accept_one())
    assert made[0]
