"""Allows HEAD wherever GET is allowed, for monitors (RFC 9110, section 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED = "sfd.asked_method"
"""The member of the scope with the method that the client sent, if the app sees another one."""


class HeadRequests:
    """Answers HEAD like GET without the body; FastAPI's routes accept only their stated methods."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        scope["method"] = "GET"
        scope[ASKED] = "HEAD"
        try:
            await self.app(scope, receive, send_without_body)
        finally:
            # The access log, outside, must show the method that the client sent.
            scope["method"] = "HEAD"
