"""Says in an answer that its connection ends, so that clients don't send into a closed one."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.runtime import Runtime

_CLOSE = (b"connection", b"close")


class Closing:
    """Adds `Connection: close`, which also makes the server close the connection.

    While the service drains, to every answer. Always to a request with both Content-Length and
    Transfer-Encoding: a proxy may have taken the other of the two, and what follows on the
    connection may be a request that the proxy has not seen (RFC 9112, section 6.1).
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self.app = app
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        is_ambiguous = {b"content-length", b"transfer-encoding"} <= names

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and (is_ambiguous or self.runtime.draining):
                headers = [pair for pair in message.get("headers", ()) if pair[0] != _CLOSE[0]]
                message = {**message, "headers": [*headers, _CLOSE]}
            await send(message)

        await self.app(scope, receive, send_and_close)
