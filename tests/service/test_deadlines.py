"""The deadline of a request: the service's setting, or an earlier one from the client."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from service.deadlines import deadline_of
from service.errors import InvalidParameter

Cells = Callable[..., bytes]


def seconds_for(header: str | None, timeout_s: float = 30.0) -> float:
    """The time that a request with this header has."""
    headers = [] if header is None else [(b"x-request-timeout", header.encode())]

    async def ask() -> float:
        now = asyncio.get_running_loop().time()
        return deadline_of(Request({"type": "http", "headers": headers}), timeout_s) - now

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, 30), ("1.5", 1.5), (" 5 ", 5), ("30", 30), ("31", 30), ("inf", 30), ("1e309", 30)],
)
def test_a_client_can_only_shorten_the_time_of_the_service(
    header: str | None, expected: float
) -> None:
    assert seconds_for(header) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("header", ["", "0", "-1", "-inf", "nan", "soon", "5;", "0x10"])
def test_a_value_that_is_not_a_positive_number_is_refused(header: str) -> None:
    with pytest.raises(InvalidParameter, match="X-Request-Timeout: must be a number"):
        seconds_for(header)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_an_invalid_deadline_is_refused(client: TestClient, bright_cells: Cells, text: str) -> None:
    answer = client.post("/detect", content=bright_cells(1), headers={"X-Request-Timeout": text})
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "X-Request-Timeout: must be a number of seconds above 0"
    )  # fmt: skip


def test_an_invalid_deadline_is_refused_under_v2_too(client: TestClient) -> None:
    headers = {"X-Request-Timeout": "soon"}
    answer = client.post("/v2/models/cells/infer", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (
        422, "X-Request-Timeout: must be a number of seconds above 0"
    )  # fmt: skip


SLOW = "2 * max(image.max() == 255 for image in images)"
"""Seconds of an inference: 2 with a bright cell, otherwise none."""


@pytest.mark.parametrize("kind", ["one image", "several images", "tensors"])
def test_a_client_gets_a_504_at_its_own_deadline(
    start_server: Any,
    bright_cells: Cells,
    as_base64: Callable[[bytes], str],
    sleeping: Callable[[object], str],
    kind: str,
) -> None:
    slow = bright_cells(1)
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [as_base64(slow)]}
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "one image": ("/detect", {"content": slow}),
        # The first one has its faces in time.
        "several images": ("/detect", {"files": {"a": bright_cells(), "b": slow}}),
        "tensors": ("/v2/models/cells/infer", {"json": {"inputs": [tensor]}}),
    }
    path, content = requests[kind]
    with start_server(before=sleeping(SLOW), MAX_BATCH=1) as server:
        answer = httpx.post(
            f"{server.url}{path}", **content, headers={"X-Request-Timeout": "0.3"}, timeout=20
        )
        counted = server.metrics()
    assert answer.status_code == 504, answer.text
    assert answer.elapsed.total_seconds() < 1.9
    assert counted['sfd_rejected_total{reason="timeout"}'] == 1
