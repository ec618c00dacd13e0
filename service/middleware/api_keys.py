"""API keys: if any are set, each request must carry one, except to the open paths."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Unauthorized

OPEN_PATHS = {
    # for probes and scrapers inside the cluster; a proxy hides /metrics from the outside
    "/livez",
    "/readyz",
    "/metrics",
    "/v2/health/live",
    "/v2/health/ready",
    # the page and the documents, which then ask for the key
    "/",
    "/docs",
    "/openapi.json",
}
OPEN_FOLDERS = ("/static/", "/docs/")


class ApiKeys:
    """Accepts requests with a key in `X-API-Key` or as `Authorization: Bearer`."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = routes
        self.digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or raise Unauthorized."""
        if scope["type"] == "http" and self.digests and not _is_open(scope["path"]):
            try:
                self._check(Headers(scope=scope))
            except Unauthorized:
                self._find_route(scope)
                raise
        await self.app(scope, receive, send)

    def _find_route(self, scope: Scope) -> None:
        """Set the route that would have answered, for the metrics and the log."""
        for route in self.routes:
            if route.matches(scope)[0] is Match.FULL:
                scope["route"] = route
                return

    def _check(self, headers: Headers) -> None:
        given = headers.get("x-api-key")
        if given is None:
            scheme, _, credentials = headers.get("authorization", "").partition(" ")
            given = credentials.strip() if scheme.lower() == "bearer" else None
        if given is None:
            raise Unauthorized("an API key is needed, in X-API-Key or as Authorization: Bearer")
        digest = _digest(given)
        # All digests have the same length and all are compared, so the time reveals nothing about a
        # key.
        if not sum(hmac.compare_digest(digest, known) for known in self.digests):
            raise Unauthorized("the API key is not valid")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
