"""The Open Inference Protocol v2, for Triton's and KServe's clients."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from detection.deadline import until
from detection.detector import Detector
from service import openapi
from service.admission import admit
from service.disconnects import unless_client_goes
from service.errors import (
    DETECTION,
    InvalidParameter,
    InvalidRequest,
    Unauthorized,
    UnknownModel,
)
from service.openinference import calls, compression, inference, messages, tensors
from service.openinference.messages import (
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.openinference.openapi import (
    ANSWER_EXAMPLE,
    METADATA_EXAMPLE,
    infer_request,
)
from service.problems import INFERENCE

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"

# Functions are named as the calls of the protocol over gRPC: the names are the operation ids.

INFER: dict[str, Any] = {
    "summary": "Infer",
    "response_model": InferenceResponse,
    "openapi_extra": infer_request(HEADER_LENGTH),
    "responses": {
        200: {
            "description": "The outputs; where some are binary, they follow the JSON.",
            "content": {
                "application/json": {"example": ANSWER_EXAMPLE},
                BINARY: {"schema": {"type": "string", "format": "binary"}},
            },
            "headers": {
                HEADER_LENGTH: {
                    "description": "Bytes of the JSON, where binary data follows it.",
                    "schema": {"type": "integer"},
                },
                "Server-Timing": {
                    "description": "Milliseconds in each stage, for the input `image`.",
                    "schema": {"type": "string"},
                },
            },
        },
        **openapi.responses(
            *DETECTION, InvalidRequest, InvalidParameter, UnknownModel, shape=INFERENCE
        ),
    },
}


@router.get(
    "",
    summary="Describe the server",
    responses={
        200: openapi.example({"name": "sfd", "version": "0.1.0", "extensions": calls.EXTENSIONS}),
        **openapi.responses(Unauthorized, shape=INFERENCE),
    },
)
async def server_metadata() -> ServerMetadata:
    """Name, version, and the extensions of the protocol."""
    return calls.server()


@router.get(
    "/health/live",
    summary="Is the process alive?",
    responses={200: openapi.example({"live": True})},
)
async def server_live() -> ServerLive:
    """As /livez."""
    return ServerLive(live=True)


@router.get(
    "/health/ready",
    summary="Does it take requests?",
    response_model=ServerReady,
    responses={
        200: openapi.example({"ready": True}),
        503: openapi.example(
            {"ready": False}, model=ServerReady, description="Warming up, shutting down, or stalled"
        ),
    },
)
async def server_ready(request: Request) -> Response:
    """As /readyz."""
    is_ready = request.app.state.runtime.is_ready
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get(
    "/models/{name}",
    summary="Describe a model's tensors",
    responses={
        200: openapi.example(METADATA_EXAMPLE),
        **openapi.responses(Unauthorized, UnknownModel, shape=INFERENCE),
    },
)
async def model_metadata(request: Request, name: str) -> ModelMetadata:
    """Its inputs and outputs."""
    return inference.metadata(_detector(request, name))


@router.get(
    "/models/{name}/versions/{version}",
    summary="Describe a model's tensors",
    responses={
        200: openapi.example(METADATA_EXAMPLE),
        **openapi.responses(Unauthorized, UnknownModel, shape=INFERENCE),
    },
)
async def model_version_metadata(request: Request, name: str, version: str) -> ModelMetadata:
    """Its inputs and outputs; a model has one version."""
    return inference.metadata(_detector(request, name, version))


MODEL_READY: dict[str, Any] = {
    "summary": "Does a model take requests?",
    "response_model": ModelReady,
    "responses": {
        200: openapi.example({"name": openapi.EXAMPLE_MODEL, "ready": True}),
        **openapi.responses(Unauthorized, UnknownModel, shape=INFERENCE),
        503: openapi.example(
            {"name": openapi.EXAMPLE_MODEL, "ready": False},
            model=ModelReady,
            description="Warming up, shutting down, or stalled",
        ),
    },
}


@router.get("/models/{name}/ready", **MODEL_READY)
async def model_ready(request: Request, name: str) -> Response:
    """As /readyz, for a model of this process."""
    return _readiness(request, _detector(request, name))


@router.get("/models/{name}/versions/{version}/ready", **MODEL_READY)
async def model_version_ready(request: Request, name: str, version: str) -> Response:
    """As /readyz, for a model of this process."""
    return _readiness(request, _detector(request, name, version))


@router.post("/models/{name}/infer", **INFER)
async def model_infer(request: Request, name: str) -> Response:
    """Image files to detections, or pixels to the network's own boxes and scores."""
    return await _infer(request, _detector(request, name))


@router.post("/models/{name}/versions/{version}/infer", **INFER)
async def model_version_infer(request: Request, name: str, version: str) -> Response:
    """The same, with the model's version named."""
    return await _infer(request, _detector(request, name, version))


async def _infer(request: Request, detector: Detector) -> Response:
    with admit(request, detector) as admission:
        settings = admission.runtime.settings
        content = await compression.read(
            admission.chunks(),
            request.headers.get("content-encoding", ""),
            max_bytes=settings.max_bytes,
            held=admission.held,
        )
        header, binary = tensors.split(content, request.headers.get(HEADER_LENGTH))
        # In threads, because the largest bodies take a while and would block the event loop.
        parsing = asyncio.to_thread(messages.parse, header)
        message = await until(admission.deadline, parsing)
        call = calls.Inference.of(detector, message, admission.deadline)
        (received,) = tensors.assign(message, binary)
        inferred = await unless_client_goes(
            request.receive, call.run(received, settings.max_images)
        )
    binary_data_output = call.parameters.binary_data_output
    responding = asyncio.to_thread(
        inference.respond, detector, message, inferred.outputs, binary_data_output
    )
    json, data = await until(call.deadline, responding)
    request.state.log_fields = call.log_fields(inferred)
    headers = {}
    if inferred.timings is not None:
        headers["Server-Timing"] = inferred.timings.server_timing()
    if data is None:
        return Response(json, media_type="application/json", headers=headers)
    headers[HEADER_LENGTH] = str(len(json))
    return Response(json + data, media_type=BINARY, headers=headers)


def _detector(request: Request, name: str, version: str | None = None) -> Detector:
    return calls.find(request.app.state.runtime, name, version)


def _readiness(request: Request, detector: Detector) -> Response:
    is_ready = request.app.state.runtime.is_ready
    content = {"name": detector.session.model.name, "ready": is_ready}
    return JSONResponse(content, 200 if is_ready else 503)
