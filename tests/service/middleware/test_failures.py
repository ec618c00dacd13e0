"""Every exception becomes an answer; a client that still sends can read it."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from detection.errors import InvalidImage, Overloaded
from service.errors import ClientGone
from service.metrics import Metrics
from service.middleware import failures
from service.middleware.failures import Failures
from service.runtime import Runtime
from tests.servers import problem_of

Cells = Callable[..., bytes]
MORE = {"type": "http.request", "body": b"x" * 10, "more_body": True}
LAST = {"type": "http.request", "body": b"", "more_body": False}


class Exchange:
    """One request to the middleware around an app that does what `work` says."""

    def __init__(
        self,
        work: Callable[[Receive, Send], Awaitable[None]],
        *received: Message,
        method: str = "POST",
        path: str = "/detect",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.sent: list[Message] = []
        self.received = list(received)
        self.metrics = Metrics()
        self.scope: Scope = {
            "type": "http", "method": method, "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "state": {"request_id": "id-1"},
        }  # fmt: skip

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await work(receive, send)

        asyncio.run(Failures(app, self.metrics)(self.scope, self.receive, self.send))

    async def receive(self) -> Message:
        if not self.received:
            await asyncio.sleep(60)
        return self.received.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        found: int = self.sent[0]["status"]
        return found

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(b"".join(each["body"] for each in self.sent[1:]))
        return found

    def rejected(self, slug: str) -> float | None:
        return self.metrics.registry.get_sample_value("sfd_rejected_total", {"reason": slug})


def raising(error: BaseException) -> Callable[[Receive, Send], Awaitable[None]]:
    async def work(receive: Receive, send: Send) -> None:
        raise error

    return work


def test_an_error_becomes_problem_json_and_is_counted_and_logged() -> None:
    done = Exchange(raising(InvalidImage("the file is empty")), method="GET")
    assert (done.status, done.body["type"], done.body["request_id"]) == (
        400,
        "invalid-image",
        "id-1",
    )
    assert done.rejected("invalid-image") == 1
    assert done.scope["state"]["log_fields"] == {
        "problem": "invalid-image", "detail": "the file is empty"
    }  # fmt: skip


def test_an_unexpected_exception_is_logged_and_not_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = Exchange(raising(ZeroDivisionError("a secret")), method="GET")
    assert (done.status, done.body["type"]) == (500, "internal-error")
    assert "secret" not in json.dumps(done.body)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "unexpected ZeroDivisionError")
    assert record.exc_info is not None


def test_a_lack_of_memory_is_a_503_that_asks_to_try_again() -> None:
    done = Exchange(raising(MemoryError()), method="GET")
    assert (done.status, done.body["type"]) == (503, "out-of-memory")
    assert done.headers[b"retry-after"] == b"1"
    assert done.rejected("out-of-memory") == 1


def test_a_disconnected_client_gets_nothing_and_is_counted() -> None:
    done = Exchange(raising(ClientGone("gone")))
    assert done.sent == []
    assert done.rejected("client-gone") == 1


def test_a_request_cancelled_at_shutdown_is_answered_503() -> None:
    done = Exchange(raising(asyncio.CancelledError()))
    assert (done.status, done.body["type"]) == (503, "overloaded")
    assert done.headers[b"retry-after"] == b"1"


def test_an_answer_that_has_begun_is_not_mixed_with_an_error() -> None:
    async def work(receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise InvalidImage("too late")

    with pytest.raises(InvalidImage):
        Exchange(work)


def test_the_rest_of_a_body_is_read_before_the_connection_closes() -> None:
    done = Exchange(raising(InvalidImage("no")), MORE, MORE, LAST)
    assert done.received == []
    assert done.headers[b"connection"] == b"close"
    _, answer, end = done.sent
    assert len(answer["body"]) == int(done.headers[b"content-length"])
    assert (answer["more_body"], end["body"], end["more_body"]) == (True, b"", False)


def test_reading_the_rest_of_a_body_is_limited_in_bytes_and_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures, "LINGER_BYTES", 25)
    assert len(Exchange(raising(InvalidImage("no")), *[MORE] * 5).received) == 2
    monkeypatch.setattr(failures, "LINGER_S", 0.05)
    assert Exchange(raising(InvalidImage("no")), MORE).status == 400


def test_a_connection_whose_body_has_been_read_stays_open() -> None:
    async def work(receive: Receive, send: Send) -> None:
        await receive()
        raise InvalidImage("no")

    done = Exchange(work, LAST)
    assert b"connection" not in done.headers
    assert b"connection" not in Exchange(raising(InvalidImage("no")), method="HEAD").headers


def test_the_rest_of_a_short_body_is_read_and_the_connection_stays_open() -> None:
    done = Exchange(raising(Overloaded("full")), MORE, LAST, headers={"content-length": "10"})
    assert done.received == []
    assert b"connection" not in done.headers
    assert done.headers[b"retry-after"] == b"1"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": str(2**20 + 1)},
        {"content-length": "10", "expect": "100-continue"},
        {"transfer-encoding": "chunked"},
        {"content-length": "ten"},
    ],
    ids=["long", "not yet sent", "unknown", "wrong"],
)
def test_no_other_rest_is_read_before_the_error_is_sent(headers: dict[str, str]) -> None:
    done = Exchange(raising(InvalidImage("no")), LAST, headers=headers)
    assert done.headers[b"connection"] == b"close"


def test_a_short_body_that_comes_too_late_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures, "LINGER_S", 0.05)
    started = time.monotonic()
    done = Exchange(raising(InvalidImage("no")), MORE, headers={"content-length": "20"})
    assert (done.status, done.headers[b"connection"]) == (400, b"close")
    assert time.monotonic() - started < 30, "receive() would take 60 s"


def test_a_client_reads_its_error_though_it_is_still_sending(start_server: Any) -> None:
    def body() -> Any:
        for _ in range(40):
            yield bytes(100_000)

    with start_server(MAX_BYTES=1000) as server, httpx.Client(timeout=20) as client:
        for _ in range(3):
            answer = client.post(f"{server.url}/detect", content=body())
            assert problem_of(answer, 413, "payload-too-large")


def test_an_unexpected_exception_is_a_problem_too(serve: Any, bright_cells: Cells) -> None:
    def change(runtime: Runtime) -> None:
        def check_open() -> None:
            raise ZeroDivisionError("secret detail")

        runtime.check_open = check_open  # type: ignore[method-assign]

    with serve(change) as client:
        body = problem_of(client.post("/detect", content=bright_cells()), 500, "internal-error")
        assert "secret" not in body["detail"]
