"""CompreFace's face detection, as its SDKs send and read it."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from detection.detector import Query
from detection.errors import InferenceFailed, InvalidImage, RequestError, UnsupportedMediaType
from geometry.arrays import I64, Floats
from service import openapi, parameters, uploads
from service.admission import admit
from service.compat.api import Api, blank_is_absent, refuse, whole_pixels
from service.errors import DETECTION, InvalidParameter, NotSupported
from service.problems import Shape
from service.runtime import Runtime
from service.uploads import Uploads

router = APIRouter(tags=["CompreFace"])

# Codes of CompreFace's CommonExceptionCode, which its clients may know.
NO_FACE = 28
CODES: dict[type[RequestError], int] = {
    InvalidImage: 21,
    UnsupportedMediaType: 21,
    InvalidParameter: 26,
    InferenceFailed: 41,
}
OTHER = 0


class CompreFaceError(BaseModel):
    """What went wrong; code 28 says that the image has no face."""

    message: str
    code: int


class CompreFaceBox(BaseModel):
    """The box of a face, in pixels of the upright image."""

    probability: Annotated[float, Field(ge=0, le=1)]
    x_min: int
    y_min: int
    x_max: int
    y_max: int


class CompreFaceTime(BaseModel):
    """Milliseconds."""

    detector: float


class CompreFaceFace(BaseModel):
    """One face."""

    box: CompreFaceBox
    execution_time: Annotated[CompreFaceTime | None, Field(description="With `status=true`.")] = (
        None
    )


class CompreFaceVersions(BaseModel):
    """Name of the model."""

    detector: str


class CompreFaceAnswer(BaseModel):
    """The faces of an image, the largest first."""

    result: list[CompreFaceFace]
    plugins_versions: Annotated[
        CompreFaceVersions | None, Field(description="With `status=true`.")
    ] = None


class Parameters(BaseModel):
    """The query; unknown parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    limit: Annotated[int | None, Field(ge=0), blank_is_absent] = None
    det_prob_threshold: Annotated[float | None, Field(ge=0, le=1), blank_is_absent] = None
    face_plugins: str = ""
    status: Annotated[bool | None, blank_is_absent] = None


class JsonFile(BaseModel):
    """A JSON body: the image in base64; other members are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    file: str


SHAPE = Shape(
    "/api/v1",
    lambda error, _: {"message": str(error), "code": CODES.get(type(error), OTHER)},
    CompreFaceError.__name__,
    statuses={422: 400},
)

EXAMPLE: dict[str, Any] = {
    "result": [
        {"box": {"probability": 0.9987, "x_min": 412, "y_min": 96, "x_max": 474, "y_max": 177}}
    ]
}
NO_FACE_EXAMPLE: dict[str, Any] = {
    "message": "No face is found in the given image",
    "code": NO_FACE,
}

REQUEST: dict[str, Any] = {
    "parameters": [
        {
            "name": "limit",
            "in": "query",
            "description": "Maximum number of faces, the largest first; 0 means no limit.",
            "schema": {"type": "integer", "minimum": 0, "default": 0},
        },
        {
            "name": "det_prob_threshold",
            "in": "query",
            "description": "Minimum probability of a face (default: the model's).",
            "schema": {"type": "number", "minimum": 0, "maximum": 1},
        },
        {
            "name": "status",
            "in": "query",
            "description": "Add execution_time and plugins_versions.",
            "schema": {"type": "boolean", "default": False},
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "byte",
                            "description": "An image file in base64.",
                        }
                    },
                },
                "example": {"file": openapi.GIF},
            },
        },
    },
}


def _responses() -> dict[int | str, dict[str, Any]]:
    described = openapi.responses(*DETECTION, InvalidParameter, NotSupported, shape=SHAPE)
    described[400]["content"]["application/json"]["examples"]["no-face"] = {
        "value": NO_FACE_EXAMPLE
    }
    return described


@router.post(
    "/api/v1/detection/detect",
    summary="Find the faces in an image, like CompreFace",
    openapi_extra=REQUEST,
    responses={200: openapi.example(EXAMPLE, model=CompreFaceAnswer), **_responses()},
)
async def compreface_detect(request: Request) -> Response:
    """Answers with whole pixels of the upright image; an image without a face is a 400, code 28.

    `face_plugins` must be empty: this service has no plugins, and answers 501.
    """
    runtime: Runtime = request.app.state.runtime
    detector = runtime.default
    given = parameters.validated(Parameters, dict(request.query_params.multi_items()))
    if given.face_plugins.strip(", "):
        raise NotSupported(
            f"face_plugins: this service has no plugins, so no {given.face_plugins[:100]}; "
            "leave it empty"
        )
    with admit(request, detector) as admission:
        sent = await admission.read(max_images=1, read_json=from_json, known=())
        query = Query(min_score=given.det_prob_threshold)
        found = await admission.detect_one(detector, sent, query)
    headers = {"Server-Timing": found.timings.server_timing()}
    if not len(found.scores):
        return JSONResponse(NO_FACE_EXAMPLE, 400, headers)
    order = biggest_first(found.boxes)[: given.limit or None]
    boxes, scores = whole_pixels(found), found.scores.tolist()
    result: list[dict[str, Any]] = []
    for index in order.tolist():
        x1, y1, x2, y2 = boxes[index]
        face = {"probability": round(scores[index], 4), "x_min": x1, "y_min": y1, "x_max": x2,
                "y_max": y2}  # fmt: skip
        result.append({"box": face})
    answer: dict[str, Any] = {"result": result}
    if given.status:
        milliseconds = round(found.timings.total * 1000, 3)
        for each in result:
            each["execution_time"] = {"detector": milliseconds}
        answer["plugins_versions"] = {"detector": detector.session.model.name}
    return JSONResponse(answer, headers=headers)


def from_json(body: bytes, *, max_images: int) -> Uploads:
    """The image of a JSON body."""
    given = uploads.parse_json(JsonFile, body, max_images=max_images)
    return Uploads([uploads.single_file(given.file)], several=False)


def biggest_first(boxes: Floats) -> I64:
    """Indices of boxes [n, 4] by descending area; of equal areas the lowest index first."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.argsort(-sides.prod(axis=1), kind="stable")


for path in ("recognition", "verification", "static"):
    refuse(
        router,
        f"/api/v1/{path}/{{operation:path}}",
        ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "this service only answers /api/v1/detection/detect. It finds faces, does not recognise "
        "people, and keeps no faces",
    )

API = Api(router, SHAPE, [CompreFaceError])
