"""An OpenTelemetry span around each request except the probes."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ClientGone
from service.middleware.observations import route_of
from service.paths import PROBES
from service.tracing import Attributes, Ended, Tracing


class Traces:
    """Continues the client's trace, or starts a new one."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self.app = app
        self.tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        # As in Observations: if no answer starts, the client has gone.
        status = ClientGone.status

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        def end() -> Ended:
            method, route = scope["method"], route_of(scope)
            # OpenTelemetry's semantic conventions for HTTP server spans.
            attributes: Attributes = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "sfd.request_id": scope["state"]["request_id"],
            }
            return Ended(f"{method} {route}", attributes, failed=status >= 500)

        with self.tracing.request(Headers(scope=scope), end):
            await self.app(scope, receive, send_and_see)
