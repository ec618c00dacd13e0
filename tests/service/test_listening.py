"""The addresses on which the service listens."""

import json
import socket
from collections.abc import Callable
from typing import Any, NoReturn

import httpx
import pytest

from detection.errors import StartError
from service.listening import listen, url_of


@pytest.fixture
def ipv6(missing: Callable[[str], NoReturn]) -> None:
    """Skips the test on a machine without IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        missing("this machine has no IPv6")
    if not socket.has_dualstack_ipv6():
        missing("this machine has no socket for both IPv4 and IPv6")


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["127.0.0.1", "::1"]),
    ],
)
def test_a_socket_is_reached_at_its_addresses(host: str, reached: list[str]) -> None:
    found = []
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((address, port), timeout=5).close()
                found.append(address)
            except ConnectionRefusedError:
                pass
        parts = httpx.URL(url_of(listener))
        assert parts.port == port
        socket.create_connection((parts.host, port), timeout=5).close()
    assert found == reached


@pytest.mark.usefixtures("ipv6")
def test_a_port_of_ipv4_that_is_in_use_is_in_use_for_both() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = rf"cannot listen on \[::\]:{port}: the port is in use"
        with pytest.raises(StartError, match=expected), listen("::", port):
            pass


@pytest.mark.usefixtures("ipv6")
def test_the_service_answers_over_both_and_believes_a_proxy_over_both(start_server: Any) -> None:
    with start_server(HOST="::") as server:
        port = httpx.URL(server.url).port
        url = f"http://127.0.0.1:{port}/models"
        assert httpx.get(f"http://[::1]:{port}/livez").status_code == 200
        for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
            assert httpx.get(url, headers=headers).status_code == 200
        lines = [json.loads(line) for line in server.complete_log().splitlines()]
        clients = [line["client"] for line in lines if line.get("route") == "/models"]
        assert clients == ["127.0.0.1", "192.0.2.7"]
