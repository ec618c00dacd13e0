"""Reduces the absolute form of a request's target to its path."""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_ORIGIN = re.compile(rb"https?://[^/]+", re.IGNORECASE)


class Targets:
    """Takes `POST http://host/detect`, as clients behind a proxy send it, like `POST /detect`.

    A server must accept this form (RFC 9112, section 3.2.2). The target of `OPTIONS *` and of
    CONNECT is no path, and stays: no route has it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            target: bytes = scope.get("raw_path") or b""
            if origin := _ORIGIN.match(target):
                path = target[origin.end() :] or b"/"
                scope["raw_path"] = path
                scope["path"] = unquote(path.decode("ascii"))
        await self.app(scope, receive, send)
