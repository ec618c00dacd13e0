"""Probes and metrics, for machines."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel

from service import openapi
from service.runtime import Runtime

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """The state of the service."""

    status: Literal["alive", "ready", "warming up", "draining", "stalled"]


METRICS_EXAMPLE = """\
# HELP sfd_requests_total Requests answered.
# TYPE sfd_requests_total counter
sfd_requests_total{route="/detect",status="200"} 3.0
"""


@router.get(
    "/livez",
    summary="Is the process alive?",
    responses={200: openapi.example({"status": "alive"})},
)
async def livez() -> Health:
    """Answers without using a model. If this fails, restart the process."""
    return Health(status="alive")


@router.get(
    "/readyz",
    summary="Does it take requests?",
    response_model=Health,
    responses={
        200: openapi.example({"status": "ready"}),
        503: openapi.example(
            {"status": "warming up"},
            model=Health,
            description="Warming up, shutting down, or stalled",
        ),
    },
)
async def readyz(request: Request) -> Response:
    """200 from the end of the warm-up until a SIGTERM. Send traffic only while it is 200.

    Also 503 while images wait for decoding and no decoder makes progress.
    """
    runtime: Runtime = request.app.state.runtime
    if runtime.draining:
        return JSONResponse({"status": "draining"}, 503)
    if not runtime.ready:
        return JSONResponse({"status": "warming up"}, 503)
    if runtime.stalled:
        return JSONResponse({"status": "stalled"}, 503)
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "description": "In the text format of Prometheus or of OpenMetrics, as accepted",
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": METRICS_EXAMPLE},
            },
        }
    },
)
async def metrics(request: Request) -> Response:
    """All metrics of this process."""
    runtime: Runtime = request.app.state.runtime
    try:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
    except (TypeError, ValueError):
        # prometheus-client does not accept every version that a client may ask for.
        encode, content_type = choose_encoder("")
    return Response(encode(runtime.metrics.registry), headers={"Content-Type": content_type})
