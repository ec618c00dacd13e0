"""POST /detect: image files to faces."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service import body, openapi, problems, uploads
from service.detector import Detection, Detector
from service.disconnects import unless_client_goes
from service.errors import (
    InferenceFailed,
    InvalidImage,
    InvalidParameter,
    Overloaded,
    PayloadTooLarge,
    Problem,
    Timeout,
    TooManyPixels,
    Unauthorized,
    UnknownModel,
    UnsupportedMediaType,
)
from service.runtime import Runtime
from service.schemas import (
    DetectAnswer,
    DetectManyAnswer,
    DetectParameters,
    ImageError,
    ImageResult,
    ModelVersion,
    StageTimes,
)
from service.schemas import Problem as ProblemBody
from service.timings import slowest
from service.uploads import Uploads

router = APIRouter()

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": DetectAnswer | DetectManyAnswer,
        "description": "The faces; of several images, a list of results in their order.",
        "content": {"application/json": {"example": openapi.ONE_EXAMPLE}},
        "headers": {
            "Server-Timing": {
                "description": "The same stage times (W3C Server Timing).",
                "schema": {"type": "string"},
            }
        },
    },
    **openapi.responses(
        InvalidImage,
        Unauthorized,
        UnknownModel,
        PayloadTooLarge,
        TooManyPixels,
        UnsupportedMediaType,
        InvalidParameter,
        InferenceFailed,
        Overloaded,
        Timeout,
    ),
}


@router.post(
    "/detect",
    summary="Find the faces of one or several images",
    openapi_extra=openapi.IMAGES,
    responses=RESPONSES,
)
async def detect(request: Request, parameters: Annotated[DetectParameters, Query()]) -> Response:
    """Answers with a box in pixels of the upright image and a score for each face, best first."""
    runtime: Runtime = request.app.state.runtime
    deadline = asyncio.get_running_loop().time() + runtime.settings.request_timeout_s
    detector = runtime.detector(parameters.model)
    runtime.check_open()
    detector.batcher.check_room()
    with runtime.memory.hold() as held:
        files = await read_uploads(request, runtime, deadline, held)
        started = time.perf_counter()
        found = await unless_client_goes(
            request.receive, detector.detect_all(files.files, parameters.query(), deadline)
        )
    return answer(request, runtime, detector, found, files.several, time.perf_counter() - started)


async def read_uploads(
    request: Request, runtime: Runtime, deadline: float, held: body.Held
) -> Uploads:
    """The image files of a request, within the limits of the settings."""
    settings = runtime.settings
    chunks = body.stream(
        request.receive,
        request.headers,
        max_bytes=settings.max_bytes,
        deadline=deadline,
        held=held,
    )
    return await uploads.read(
        request.headers.get("content-type", ""),
        request.headers.get("content-encoding", ""),
        chunks,
        max_images=settings.max_images,
    )


def answer(
    request: Request,
    runtime: Runtime,
    detector: Detector,
    found: list[Detection | Problem],
    several: bool,
    seconds: float,
) -> Response:
    """The JSON of one image or of several; a single image's problem is the request's."""
    request_id: str = request.state.request_id
    model = ModelVersion.of(detector)
    detections = [one for one in found if isinstance(one, Detection)]
    request.state.log_fields = {
        "model": model.name,
        "images": len(found),
        "faces": sum(len(one.scores) for one in detections),
    }
    if not several:
        (one,) = found
        if isinstance(one, Problem):
            raise one
        single = DetectAnswer(
            request_id=request_id, model=model, **ImageResult.of(one).model_dump()
        )
        return _json(single, one.timings.server_timing())
    results: list[ImageResult | ImageError] = []
    for each in found:
        if isinstance(each, Problem):
            runtime.metrics.rejected.labels(each.slug).inc()
            error = ProblemBody.model_validate(problems.body(each, request_id))
            results.append(ImageError(error=error))
        else:
            results.append(ImageResult.of(each))
    timings = slowest([one.timings for one in detections], seconds)
    many = DetectManyAnswer(
        request_id=request_id, model=model, results=results, timings_ms=StageTimes.of(timings)
    )
    return _json(many, timings.server_timing())


def _json(content: DetectAnswer | DetectManyAnswer, server_timing: str) -> Response:
    return Response(
        content.model_dump_json(),
        media_type="application/json",
        headers={"Server-Timing": server_timing},
    )
