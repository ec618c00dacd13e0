"""Answers pages of other origins: CORS, with its refusals in the form of all other errors."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import deadlines, problems
from service.errors import PreflightRefused
from service.metrics import Metrics
from service.middleware.refusal import refusal
from service.middleware.request_ids import HEADER
from service.routes.inference import HEADER_LENGTH


class Cors(CORSMiddleware):
    """Starlette's, which refuses a preflight as plain text. `shapes` are those of `Failures`."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        shapes: Sequence[problems.Shape],
        origins: Sequence[str],
    ) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=[
                "Content-Type",
                "Content-Encoding",
                "X-API-Key",
                "Authorization",
                HEADER,
                "traceparent",
                deadlines.HEADER,
                HEADER_LENGTH,
            ],
            expose_headers=[
                HEADER,
                "Server-Timing",
                "Retry-After",
                "X-Faces",
                HEADER_LENGTH,
            ],
        )
        self.metrics = metrics
        self.shapes = shapes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        except PreflightRefused as problem:
            answer = refusal(problem, scope, self.metrics, self.shapes)
            await answer(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight. Raises PreflightRefused."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        what = bytes(response.body).decode().removeprefix("Disallowed CORS ")
        # Browsers tell the page's author what is allowed.
        kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
        raise PreflightRefused(f"not allowed for a page of another origin: {what}", kept)
