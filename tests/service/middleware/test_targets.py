"""The four forms of a request's target, as RFC 9112 has them, over a socket."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers import receive_answer

Cells = Callable[..., bytes]


def ask(hardened: Any, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
    """Status and JSON of the answer; the connection stays open for a second request."""
    with hardened.connect() as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        answer = receive_answer(connection)
        return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "target", ["http://x/detect", "HTTP://x:8000/detect/?max_faces=1", "https://[::1]/detec%74"]
)
def test_a_target_with_the_host_is_the_same_as_its_path(
    hardened: Any, bright_cells: Cells, target: str
) -> None:
    status, found = ask(hardened, "POST", target, bright_cells(1))
    assert (status, len(found["faces"])) == (200, 1)


def test_a_host_without_a_path_is_the_page(hardened: Any) -> None:
    with hardened.connect() as connection:
        connection.sendall(b"HEAD http://x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("OPTIONS", "*"),
        ("GET", "*"),
        ("CONNECT", "example.org:443"),
        ("GET", "detect"),
        ("GET", "?a=b"),
        ("GET", "ftp://x/detect"),
        ("GET", "http:///detect"),
        ("GET", "http://x/nothing"),
    ],
)
def test_a_target_that_is_no_path_here_is_not_found(
    hardened: Any, method: str, target: str
) -> None:
    status, problem = ask(hardened, method, target)
    assert (status, problem["type"]) == (404, "not-found")
    assert "Traceback" not in hardened.complete_log()


def test_the_log_has_the_path_of_a_target_with_a_host(hardened: Any) -> None:
    ask(hardened, "GET", "http://x/models/of-this-test")
    last = json.loads(hardened.complete_log().splitlines()[-1])
    assert (last["path"], last["route"]) == ("/models/of-this-test", "/models/{name}")


def test_a_host_that_is_no_host_does_not_matter(hardened: Any) -> None:
    with hardened.connect() as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: [\r\n\r\n")
        assert b"404" in receive_answer(connection).splitlines()[0]
