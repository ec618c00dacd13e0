"""POST /detect: finds the faces in image files."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from detection.deadline import until
from detection.detector import Detection, Detector
from detection.detector import Query as DetectorQuery
from detection.errors import RequestError
from detection.rendering import Style
from detection.sizes import readable_bytes
from detection.timings import slowest
from service import openapi, problems
from service.admission import admit, log_faces
from service.disconnects import unless_client_goes
from service.errors import (
    DETECTION,
    FetchFailed,
    HostNotAllowed,
    InvalidParameter,
    NotAcceptable,
    UnknownModel,
)
from service.parameters import combine
from service.rendering import FORMATS, JPEG, PNG, ZIP, archive, check_zip, media_type
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
from service.uploads import Uploads

router = APIRouter(tags=["detection"])

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": DetectAnswer | DetectManyAnswer,
        "description": "The faces; for several images, a list of results in order. With `render`, "
        "the picture.",
        "content": {
            "application/json": {
                "examples": {
                    "one": {"summary": "One image", "value": openapi.ONE_EXAMPLE},
                    "several": {"summary": "Several images", "value": openapi.SEVERAL_EXAMPLE},
                }
            },
            JPEG: {"schema": {"type": "string", "format": "binary"}},
            PNG: {"schema": {"type": "string", "format": "binary"}},
            ZIP: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            "Server-Timing": {
                "description": "The same stage times (W3C Server Timing).",
                "schema": {"type": "string"},
            },
            "X-Faces": {
                "description": "With `render`: how many faces were found.",
                "schema": {"type": "integer"},
            },
        },
    },
    **openapi.responses(
        *DETECTION, HostNotAllowed, UnknownModel, NotAcceptable, InvalidParameter, FetchFailed
    ),
}


MOST_CROP_BYTES = 64 * 2**20
"""Limit for all crops of a request. 32 photographs with ten faces each need a tenth of it."""

FEW = 1000
"""An answer with fewer faces takes under a hundredth of a second to make."""


@router.post(
    "/detect",
    summary="Find the faces of one or several images",
    openapi_extra=openapi.IMAGES,
    responses=RESPONSES,
)
async def detect(request: Request, parameters: Annotated[DetectParameters, Query()]) -> Response:
    """Answers with a box in pixels of the upright image and a score for each face, best first.

    The parameters can also come as form fields or as members of the JSON body.
    """
    runtime: Runtime = request.app.state.runtime
    with admit(request, runtime.detector(parameters.model)) as admission:
        deadline = admission.deadline
        files = await admission.read(max_images=runtime.settings.max_images)
        query = request.query_params.multi_items()
        parameters = combine(DetectParameters, query, files.fields)
        detector = runtime.detector(parameters.model)
        if parameters.crops and parameters.render not in (None, "crops"):
            raise InvalidParameter(
                f"crops: go into the JSON, but render={parameters.render} answers with a picture; "
                "leave one of them out"
            )
        files = await admission.fetch(files)
        if parameters.render == "crops" or parameters.crops:
            work = with_crops(request, runtime, detector, files, parameters, deadline)
            return await unless_client_goes(request.receive, work)
        if parameters.render is not None:
            drawing = picture(
                request, detector, files, parameters.render, parameters.query(), deadline
            )
            return await unless_client_goes(request.receive, drawing)
        started = time.perf_counter()
        found = await admission.detect(detector, files.files, parameters.query())
    seconds = time.perf_counter() - started
    made = request, runtime, detector, found, files.several, seconds
    if sum(len(one.scores) for one in found if isinstance(one, Detection)) < FEW:
        return answer(*made)
    # In a thread, because thousands of faces take a while and would block the event loop.
    return await until(deadline, asyncio.to_thread(answer, *made))


async def with_crops(
    request: Request,
    runtime: Runtime,
    detector: Detector,
    files: Uploads,
    parameters: DetectParameters,
    deadline: float,
) -> Response:
    """The answer with a picture of each face, in the JSON or as a ZIP file.

    The files are decoded a second time, as in `picture`.
    """
    as_zip = parameters.render == "crops"
    if as_zip:
        check_single(files)
        check_zip(accepted(request))
    started = time.perf_counter()
    found = await detector.detect_all(files.files, parameters.query(), deadline)
    room = MOST_CROP_BYTES
    crops: list[list[bytes]] = []
    # One after the other, so that a request doesn't take all decoders.
    for data, one in zip(files.files, found, strict=True):
        made: list[bytes] = []
        if isinstance(data, bytes) and isinstance(one, Detection) and len(one.scores):
            made = await detector.crop(
                data,
                one,
                margin=parameters.crop_margin,
                size=parameters.crop_size,
                most_bytes=room,
                deadline=deadline,
            )
        room -= sum(map(len, made))
        if room < 0:
            raise InvalidParameter(
                f"crops: they take more than {readable_bytes(MOST_CROP_BYTES)}; ask for fewer "
                "(max_faces) or smaller ones (crop_size)"
            )
        crops.append(made)
    seconds = time.perf_counter() - started

    def respond() -> Response:
        if not as_zip:
            return answer(request, runtime, detector, found, files.several, seconds, crops)
        plain = answer(request, runtime, detector, found, files.several, seconds)
        headers = {
            "Server-Timing": plain.headers["Server-Timing"],
            "X-Faces": str(len(crops[0])),
            "Content-Disposition": 'attachment; filename="faces.zip"',
            "Cache-Control": "no-store",
        }
        content = archive(crops[0], bytes(plain.body).decode())
        return Response(content, media_type=ZIP, headers=headers)

    return await until(deadline, asyncio.to_thread(respond))


async def picture(
    request: Request,
    detector: Detector,
    files: Uploads,
    style: Style,
    query: DetectorQuery,
    deadline: float,
) -> Response:
    """The picture with its faces drawn or hidden."""
    check_single(files)
    (data,) = files.files
    accept = accepted(request)
    if isinstance(data, bytes):
        # Checked before any work, and again when the size is known.
        media_type(accept, data, 1, 1)
    (found,) = await detector.detect_all(files.files, query, deadline)
    if isinstance(found, RequestError):
        raise found
    assert isinstance(data, bytes)
    kind = media_type(accept, data, found.width, found.height)
    started = time.perf_counter()
    content = await detector.draw(data, found, style, FORMATS[kind], deadline)
    milliseconds = round((time.perf_counter() - started) * 1000, 3)
    log_faces(request, detector, [found])
    headers = {
        "Server-Timing": f"{found.timings.server_timing()}, render;dur={milliseconds}",
        "X-Faces": str(len(found.scores)),
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    return Response(content, media_type=kind, headers=headers)


def check_single(files: Uploads) -> None:
    """Raise InvalidParameter unless the request has one image."""
    if files.several:
        raise InvalidParameter("render: the answer is one picture; send one image per request")


def accepted(request: Request) -> str:
    """The Accept header, which may have several lines."""
    return ",".join(request.headers.getlist("accept"))


def answer(
    request: Request,
    runtime: Runtime,
    detector: Detector,
    found: Sequence[Detection | RequestError],
    several: bool,
    seconds: float,
    crops: Sequence[Sequence[bytes]] | None = None,
) -> Response:
    """The JSON of one image or of several. If a single image fails, the request fails.

    `crops` are the JPEG files of each image's faces.
    """
    request_id: str = request.state.request_id
    model = ModelVersion.of(detector)
    detections = [one for one in found if isinstance(one, Detection)]
    log_faces(request, detector, found)
    crops_of = crops if crops is not None else [None] * len(found)
    if not several:
        (one,) = found
        if isinstance(one, RequestError):
            raise one
        result = ImageResult.of(one, crops_of[0])
        single = DetectAnswer(request_id=request_id, model=model, **result.model_dump())
        return _json(single, one.timings.server_timing())
    results: list[ImageResult | ImageError] = []
    for each, its_crops in zip(found, crops_of, strict=True):
        if isinstance(each, RequestError):
            runtime.metrics.rejected.labels(each.slug).inc()
            error = ProblemBody.model_validate(problems.body(each, request_id))
            results.append(ImageError(error=error))
        else:
            results.append(ImageResult.of(each, its_crops))
    timings = slowest([one.timings for one in detections], seconds)
    many = DetectManyAnswer(
        request_id=request_id, model=model, results=results, timings_ms=StageTimes.of(timings)
    )
    return _json(many, timings.server_timing())


def _json(content: DetectAnswer | DetectManyAnswer, server_timing: str) -> Response:
    return Response(
        content.model_dump_json(exclude_none=True),
        media_type="application/json",
        headers={"Server-Timing": server_timing},
    )
