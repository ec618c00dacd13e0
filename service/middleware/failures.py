"""Turns every exception into a problem answer; no traceback reaches a client."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detection.errors import OutOfMemory, Overloaded, RequestError
from service import problems
from service.errors import ClientGone
from service.metrics import Metrics

log = logging.getLogger(__name__)

LINGER_S = 2.0
LINGER_BYTES = 64 * 2**20


class Failures:
    """Renders errors, logs unexpected exceptions, and lets a rejected upload finish cleanly.

    `shapes` say how errors look, by path: `service.problems.SHAPES`.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, shapes: Sequence[problems.Shape] = problems.SHAPES
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.shapes = shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        body_read = False

        async def send_and_see(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        async def receive_and_see() -> Message:
            nonlocal body_read
            message = await receive()
            body_read = body_read or not message.get("more_body", False)
            return message

        try:
            await self.app(scope, receive_and_see, send_and_see)
        except (Exception, asyncio.CancelledError) as error:
            # Any exception must become an answer.
            problem = self._problem_of(error)
            if started:
                raise
            self.metrics.rejected.labels(problem.slug).inc()
            scope["state"]["log_fields"] = {"problem": problem.slug, "detail": str(problem)}
            if isinstance(problem, ClientGone):
                return
            answer = problems.response(
                problem, scope["state"]["request_id"], scope["path"], self.shapes
            )
            ended = isinstance(error, asyncio.CancelledError)
            if ended or body_read or scope["method"] in ("GET", "HEAD", "OPTIONS"):
                await answer(scope, receive, send)
            else:
                await _answer_and_linger(answer.body, answer.raw_headers, answer.status_code,
                                         receive, send)  # fmt: skip

    def _problem_of(self, error: Exception | asyncio.CancelledError) -> RequestError:
        if isinstance(error, RequestError):
            return error
        if isinstance(error, asyncio.CancelledError):
            # The server cancels requests that outlast the grace time; the client can ask another
            # replica.
            return Overloaded("the service was shut down before the request was done")
        if isinstance(error, MemoryError):
            log.error("out of memory")
            return OutOfMemory("too little memory is left for this request; try again later")
        log.exception("unexpected %s", type(error).__name__)
        return RequestError("internal error; look for the request id in the service's log")


async def _answer_and_linger(
    body: bytes | memoryview,
    headers: list[tuple[bytes, bytes]],
    status: int,
    receive: Receive,
    send: Send,
) -> None:
    """Answer a client that may still be sending, and read on for a moment.

    Closing at once would reset the connection, and most clients would report the reset instead of
    the answer (RFC 9112, section 9.6). The answer is complete for the client, by its
    Content-Length, before its last, empty message is sent here.
    """
    headers = [*headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(body), "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            left, more = LINGER_BYTES, True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
