"""Middleware of Ray's proxies: what Ray answers itself gets the form of the service's answers.

Ray's proxy answers without the service when no replica can: in plain text, mostly without
Retry-After, and with nothing at all when the replica of a request dies. It takes the middleware of
the function that RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names, in the environment of each node:

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.cluster.refusals.middleware
"""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detection.errors import Overloaded, RequestError, Timeout
from service import problems
from service.cluster.limits import RETRY_S
from service.compat import all_apis
from service.middleware import request_ids
from service.middleware.security_headers import SecurityHeaders

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
VALUE = "service.cluster.refusals.middleware"
REPLICA = "X-Replica"
"""The header with the id of the replica that answered."""
RAYS_OWN = "/-/"
"""Ray's own paths, such as /-/healthz."""
SHAPES = (*(api.shape for api in all_apis()), *problems.SHAPES)


def middleware() -> list[Middleware]:
    """What Ray's proxy asks for at its start."""
    return [Middleware(Refusals)]


class Refusals:
    """Answers with a problem where Ray does not pass on the answer of a replica."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(RAYS_OWN):
            await self.app(scope, receive, send)
            return
        # Before Ray makes an id of its own, which would hide that of the trace.
        request_id = request_ids.of(Headers(scope=scope))
        MutableHeaders(scope=scope)[request_ids.HEADER] = request_id
        status = 0
        passing = False

        async def send_if_of_a_replica(message: Message) -> None:
            nonlocal status, passing
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                passing = REPLICA in headers or status < 400
                # Ray adds the id a second time.
                headers[request_ids.HEADER] = request_id
            if passing:
                await send(message)

        await self.app(scope, receive, send_if_of_a_replica)
        if not passing:
            problem = problem_of(status)
            answer = problems.response(problem, request_id, scope["path"], SHAPES)
            answer.headers[request_ids.HEADER] = request_id
            await SecurityHeaders(answer)(scope, receive, send)


_PROBLEMS: Mapping[int, RequestError] = {
    404: Overloaded("the service is not deployed yet", RETRY_S),
    408: Timeout("no replica answered in time"),
    429: Overloaded("every replica is busy", RETRY_S),
    503: Overloaded("every replica is busy, or none runs", RETRY_S),
}


def problem_of(status: int) -> RequestError:
    """The problem behind an answer of Ray itself, by its status; 0 if it began none."""
    died = Overloaded("the replica ended before it answered; the request may be repeated", RETRY_S)
    return _PROBLEMS.get(status, died)
