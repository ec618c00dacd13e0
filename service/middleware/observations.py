"""Logs and counts each request once, when its answer has ended."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import Answered, record
from service.errors import ClientGone
from service.metrics import Metrics
from service.paths import PROBES


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
            answered = Answered(
                method=scope["method"],
                path=scope["path"],
                route=route,
                status=status,
                seconds=seconds,
                client=(scope.get("client") or ("",))[0],
                is_probe=route in PROBES,
                fields=scope.get("state", {}).get("log_fields", {}),
            )
            record(self.metrics, answered)


def route_of(scope: Scope) -> str:
    """The template of the route that answers, never the client's own path: labels are bounded."""
    return getattr(scope.get("route"), "path", None) or "other"
