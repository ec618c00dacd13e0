"""The pages for browsers: the demo page and the API's documentation, both offline."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

STATIC = Path(str(files("service"))) / "static"
SAMPLE = STATIC / "sample.jpg"
"""A photograph with a face, for the page's *Try it* and for `--dry-run`."""

# Swagger UI's files, as that package ships them: FastAPI's own page loads them from a CDN.
SWAGGER_UI = Path(fastapi_offline.__file__).parent / "static"

_DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Face detection: API</title>
  <link rel="icon" href="static/favicon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="docs/assets/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="docs/assets/swagger-ui-bundle.js"></script>
  <script src="docs/start.js"></script>
</body>
</html>
"""
# In a separate file, because the content security policy forbids inline scripts.
_DOCS_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'

router = APIRouter(include_in_schema=False)


def _whole(scope: Scope) -> Scope:
    """The request without a Range, which a server may ignore (RFC 9110, 14.2).

    Starlette would answer a bad range itself, and not with a problem.
    """
    return {**scope, "headers": [each for each in scope["headers"] if each[0] != b"range"]}


class WholeFiles(StaticFiles):
    """The files of a folder, always sent whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send one."""
        await super().__call__(_whole(scope), receive, send)

    def file_response(self, *positional: Any, **named: Any) -> Response:
        """Like Starlette's, but without ranges."""
        response = super().file_response(*positional, **named)
        response.headers["Accept-Ranges"] = "none"
        # Browsers cache a file for a tenth of its age, so a new page could run with old scripts.
        response.headers["Cache-Control"] = "no-cache"
        return response


_FILES = WholeFiles(directory=STATIC)


class Page(Response):
    """The demo page, sent like the files that it loads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or 304 to a browser that has it."""
        scope = _whole(scope)
        response = await _FILES.get_response("index.html", scope)
        await response(scope, receive, send)


@router.get("/")
async def page() -> Page:
    """The demo page."""
    return Page()


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI on our OpenAPI document."""
    return HTMLResponse(_DOCS)


@router.get("/docs/")
async def docs_folder() -> RedirectResponse:
    """To the page without the slash, because its addresses are relative, also behind a prefix."""
    return RedirectResponse("../docs")


@router.get("/docs/start.js")
async def docs_start() -> Response:
    """Starts Swagger UI."""
    return Response(_DOCS_START, media_type="text/javascript")


MOUNTS = [
    Mount("/static", _FILES, name="static"),
    Mount("/docs/assets", WholeFiles(directory=SWAGGER_UI), name="docs-assets"),
]
