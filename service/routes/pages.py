"""What people open in a browser: the demo page and the API's documentation, both offline."""

from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

STATIC = Path(str(files("service"))) / "static"
SAMPLE = STATIC / "sample.jpg"
"""A photograph with a face: what the page offers to try, and what `--dry-run` detects on."""

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
# A file of its own: inline, the content security policy would have to allow it.
_DOCS_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true});\n'

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The demo page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Swagger UI on our OpenAPI document."""
    return HTMLResponse(_DOCS)


@router.get("/docs/start.js")
async def docs_start() -> Response:
    """Starts Swagger UI."""
    return Response(_DOCS_START, media_type="text/javascript")


MOUNTS = [
    Mount("/static", StaticFiles(directory=STATIC), name="static"),
    Mount("/docs/assets", StaticFiles(directory=SWAGGER_UI), name="docs-assets"),
]
