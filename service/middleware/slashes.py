"""Ignores a slash at the end of a path: /detect/ is the same as /detect."""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.paths import FOLDERS, METRICS, METRICS_TARGETS


class Slashes:
    """Drops a slash at the end of a path; a redirect would lose most uploads.

    Paths under /static/ and /docs/ keep it, because their pages use relative paths. Those of the
    metrics keep it too: a proxy that hides exactly /metrics must hide all there is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if len(path) > 1 and path.endswith("/") and not path.startswith(FOLDERS):
                shorter = path.rstrip("/") or "/"
                if shorter not in (METRICS, METRICS_TARGETS):
                    scope["path"] = shorter
        await self.app(scope, receive, send)
