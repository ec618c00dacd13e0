"""API keys: if any are set, each request must carry one, except to the open paths."""

from collections.abc import Sequence, Set

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from service import keys
from service.errors import Unauthorized
from service.keys import Keys
from service.paths import FOLDERS, PROBES

# Probes and scrapers are inside the cluster, and a proxy hides /metrics from the outside. The page
# and the documents ask for the key.
OPEN_PATHS = PROBES | {"/", "/docs", "/openapi.json"}


class ApiKeys:
    """Accepts requests with a key in `X-API-Key` or as `Authorization: Bearer`.

    A POST to a path in `key_in_body` (such as /v1/vision/face) may have its key in the body. If it
    has none in its headers it passes, and its route must check the key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        routes: Sequence[BaseRoute],
        key_in_body: Set[str] = frozenset(),
    ) -> None:
        self.app = app
        self.keys = keys
        self.routes = routes
        self.key_in_body = key_in_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or raise Unauthorized."""
        if scope["type"] == "http" and self.keys and not _is_open(scope["path"]):
            given = keys.in_headers(Headers(scope=scope))
            is_in_body = scope["method"] == "POST" and scope["path"] in self.key_in_body
            if given is not None or not is_in_body:
                try:
                    self.keys.check(given)
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


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(FOLDERS)
