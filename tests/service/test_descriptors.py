"""The watch over the limit of open files."""

import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.descriptors import Descriptors
from tests.servers import Server

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
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + 20, hard))
        descriptors.check()
        descriptors.check()
    assert reached == [1]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"the limit of {soft} open files is reached")
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
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + 20, hard))
        descriptors.check()
        now[0] += 1
    assert len(reached) == 11
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 2


def wait_for_line(server: Server, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("loop", ["default", "asyncio"])
def test_a_service_at_its_limit_of_open_files_says_so_and_recovers(
    start_server: Any, loop: str
) -> None:
    before = "" if loop == "default" else "import sys; sys.modules['uvloop'] = None"
    with start_server(before) as server:
        pid = server.process.pid
        files = server.open_files() + 10
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, files + 1000))
        connections: list[socket.socket] = [server.connect() for _ in range(40)]
        wait_for_line(server, f"the limit of {files} open files is reached")
        for connection in connections:
            connection.close()
        # Until it has noticed, uvloop may reset a new connection.
        wait_for_line(server, "new connections are accepted again")
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        assert server.metrics()["sfd_file_limits_total"] >= 1
        server.process.terminate()
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log.read_text()
        assert len(server.log.read_text().splitlines()) < 40
