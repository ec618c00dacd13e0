"""Refusals that wait: which ones do, and how their wait ends."""

import asyncio
import weakref
from collections.abc import Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from detection.errors import InvalidImage, OutOfMemory, Overloaded, RequestError
from service.metrics import Metrics
from service.middleware.failures import Failures
from service.pace import Pace

DEADLINE = (b"x-request-timeout", b"0.2")
LENGTH = (b"content-length", b"10")
READ = {"type": "http.request", "body": b"x" * 10, "more_body": False}


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each refusal wait until it is cancelled."""
    monkeypatch.setattr(Pace, "delay", lambda self: 60.0)


class Refused:
    """A request with a short body, to an app that refuses it; then it is cancelled."""

    def __init__(
        self,
        error: Callable[[], RequestError] = lambda: Overloaded("full"),
        *headers: tuple[bytes, bytes],
        is_draining: bool = False,
        body_comes: bool = True,
    ) -> None:
        self.sent: list[Message] = []
        self.error, self.body_comes = error, body_comes
        self.scope: Scope = {
            "type": "http", "method": "POST", "path": "/detect",
            "headers": [LENGTH, *headers], "state": {"request_id": "id-1"},
        }  # fmt: skip
        self.failures = Failures(self.app, Metrics(), is_draining=lambda: is_draining)
        self.waited = asyncio.run(self.run())

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise self.error()

    async def receive(self) -> Message:
        if not self.body_comes:
            await asyncio.sleep(60)
        return READ

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self) -> bool:
        """Whether the answer was not sent before the request was cancelled."""
        request = asyncio.ensure_future(self.failures(self.scope, self.receive, self.send))
        await asyncio.sleep(0.02)
        waited = not self.sent
        request.cancel()
        await asyncio.wait([request])
        return waited


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Refused(lambda: InvalidImage("no")),
        lambda: Refused(lambda: OutOfMemory("no room")),
        lambda: Refused(lambda: Overloaded("full"), DEADLINE),
        lambda: Refused(is_draining=True),
    ],
    ids=["another problem", "memory", "a deadline", "draining"],
)
def test_what_must_not_wait_is_sent_at_once(refused: Callable[[], Refused]) -> None:
    assert not refused().waited


def test_a_refusal_that_waits_when_a_shutdown_cancels_it_is_sent() -> None:
    refused = Refused()
    assert refused.waited
    assert refused.sent[0]["status"] == 503


def test_an_answer_is_sent_if_a_shutdown_cancels_it_while_the_body_is_read() -> None:
    refused = Refused(lambda: InvalidImage("no"), body_comes=False)
    assert refused.waited
    assert refused.sent[0]["status"] == 400


def test_a_refusal_that_waits_does_not_hold_the_body() -> None:
    """Its memory has been given back by then, so another request may have taken it."""

    class Body(bytearray):
        pass

    held: list[weakref.ref[Body]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(10)
        held.append(weakref.ref(body))
        raise Overloaded(f"full after {len(body)} bytes")

    async def receive() -> Message:
        return READ

    async def send(message: Message) -> None:
        pass

    async def wait() -> None:
        scope: Scope = {
            "type": "http", "method": "POST", "path": "/detect", "headers": [LENGTH],
            "state": {"request_id": "id-1"},
        }  # fmt: skip
        request = asyncio.ensure_future(Failures(app, Metrics())(scope, receive, send))
        await asyncio.sleep(0.02)
        assert not request.done()
        assert held[0]() is None
        request.cancel()
        await request

    asyncio.run(wait())
