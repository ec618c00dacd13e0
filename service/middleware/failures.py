"""Turns every exception into a problem answer; no traceback reaches a client."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detection.errors import Overloaded
from service import deadlines, problems
from service.errors import ClientGone
from service.metrics import Metrics
from service.middleware.refusal import refusal
from service.pace import Pace

DEADLINE = deadlines.HEADER.lower().encode()
SHORT_BYTES = 2**20
"""The rest of a body whose Content-Length is at most this is read before the error is sent."""
SHORT_S = 0.05
"""The most seconds for that."""
LINGER_S = 2.0
LINGER_BYTES = 64 * 2**20
"""Limits of what is read after the error has been sent."""


class Failures:
    """Renders errors, logs unexpected exceptions, and lets a rejected upload finish cleanly.

    `shapes` say how errors look, by path: `service.problems.SHAPES`.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        shapes: Sequence[problems.Shape] = problems.SHAPES,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.app = app
        self.is_draining = is_draining
        self.metrics = metrics
        self.shapes = shapes
        self.pace = Pace()

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
            return
        except (Exception, asyncio.CancelledError) as error:
            # Any exception must become an answer.
            problem = problems.of_exception(error)
            if started:
                raise
            answer = refusal(problem, scope, self.metrics, self.shapes)
            if isinstance(problem, ClientGone):
                return
            at_once = isinstance(error, asyncio.CancelledError)
            is_paced = self._is_paced(problem, scope)
            # Its traceback holds the body, whose memory counts as free by now.
            del problem
        if not at_once:
            try:
                if is_paced:
                    await self.pace.wait()
                at_once = (
                    body_read
                    or scope["method"] in ("GET", "HEAD", "OPTIONS")
                    or await _read_short_body(scope["headers"], receive)
                )
            except asyncio.CancelledError:
                # The grace time of a shutdown has ended.
                at_once = True
        if at_once:
            await answer(scope, receive, send)
        else:
            await _answer_and_linger(answer.body, answer.raw_headers, answer.status_code,
                                     receive, send)  # fmt: skip

    def _is_paced(self, problem: Exception, scope: Scope) -> bool:
        """Whether a client may repeat the request at once, and nothing else asks for haste.

        A request with a deadline is answered before it. When the service drains, the connection
        ends, and a balancer should try another replica soon.
        """
        return (
            type(problem) is Overloaded
            and not self.is_draining()
            and all(name != DEADLINE for name, _ in scope["headers"])
        )


async def _read_short_body(headers: list[tuple[bytes, bytes]], receive: Receive) -> bool:
    """Drop the rest of a short body. Returns whether all of it came: then the connection stays.

    A new connection costs a client that is refused often, and the service, more than this body.
    A client that waits for `100 Continue` is not asked to send it.
    """
    fields = dict(headers)
    length = fields.get(b"content-length", b"")
    if b"expect" in fields or not length.isdigit() or int(length) > SHORT_BYTES:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            while (await receive()).get("more_body", False):
                pass
            return True
    return False


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
