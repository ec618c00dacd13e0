import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, run_server

KEY = "a-good-long-key"


@pytest.fixture(scope="module")
def open_server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that answers both products' clients."""
    environment = {
        "SFD_MODEL_STORE": str(store),
        "SFD_MODELS": "cells",
        "SFD_THREADS": "1",
        "SFD_COMPAT": "DeepStack, compreface",
    }
    with run_server(tmp_path_factory.mktemp("compat"), environment) as server:
        yield server


Ask = Callable[..., tuple[int, dict[str, str], Any]]


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Sends a captured request as it is: its head without Content-Length, and its body.

    Answers with status, headers in lower case, and JSON.
    """

    def send(server: Server, head: str, body: bytes) -> tuple[int, dict[str, str], Any]:
        connection = server.connect()
        lines = head.strip().splitlines()
        text = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        connection.sendall(text.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        first, _, rest = answer.partition(b"\r\n\r\n")
        status, *fields = first.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (each.split(": ", 1) for each in fields)}
        while len(rest) < int(headers["content-length"]):
            rest += connection.recv(65536)
        return int(status.split()[1]), headers, json.loads(rest)

    return send


def lines(*parts: str | bytes) -> bytes:
    """Parts of a body, each with a line end after it."""
    return b"".join((p.encode() if isinstance(p, str) else p) + b"\r\n" for p in parts)
