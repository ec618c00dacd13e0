"""Logs and counts each request once, when its answer has ended."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone
from service.metrics import Metrics
from service.paths import PROBES

log = logging.getLogger("service.access")

MOST_PATH = 1000
"""Characters of a path that a log line shows; a client can send 64 KiB."""


class Observations:
    """Measures each request from its headers to the end of its answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # If no answer starts, the client has gone.
        status = ClientGone.status

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_and_see)
        finally:
            self.metrics.in_flight.dec()
            seconds = time.perf_counter() - started
            route = route_of(scope)
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            # The log lines of probes would bury the others.
            level = logging.DEBUG if route in PROBES and status < 400 else logging.INFO
            path = scope["path"][:MOST_PATH]
            fields = {
                "method": scope["method"],
                "path": path,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
                "client": (scope.get("client") or ("",))[0],
            }
            fields |= scope.get("state", {}).get("log_fields", {})
            log.log(level, "%s %s %s", scope["method"], path, status,
                    extra={"fields": fields})  # fmt: skip


def route_of(scope: Scope) -> str:
    """The template of the route that answers, never the client's own path: labels are bounded."""
    return getattr(scope.get("route"), "path", None) or "other"
