"""DeepStack's face detection, as its clients and CodeProject.AI's send and read it."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from detection.detector import Query
from service import keys, openapi, parameters, uploads
from service.admission import admit
from service.compat.api import Api, blank_is_absent, refuse, whole_pixels
from service.errors import DETECTION, InvalidParameter
from service.problems import Shape
from service.runtime import Runtime
from sfd.terminal import counted

router = APIRouter(tags=["DeepStack"])


class DeepStackError(BaseModel):
    """What went wrong."""

    success: Literal[False]
    error: str


class DeepStackFace(BaseModel):
    """One face, in pixels of the upright image."""

    label: Literal["face"]
    confidence: Annotated[float, Field(ge=0, le=1)]
    x_min: int
    y_min: int
    x_max: int
    y_max: int


class DeepStackAnswer(BaseModel):
    """The faces of an image, best first, with the members that CodeProject.AI added."""

    success: Literal[True]
    predictions: list[DeepStackFace]
    duration: Annotated[int, Field(description="Milliseconds.")]
    message: str
    count: int
    code: Literal[200]
    inferenceMs: int  # noqa: N815
    processMs: int  # noqa: N815


class Parameters(BaseModel):
    """The form's fields other than the image and the key; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore")

    min_confidence: Annotated[float | None, Field(ge=0, le=1), blank_is_absent] = None


KEY = "api_key"
FIELDS = frozenset({KEY, *Parameters.model_fields})
"""All that is read of a form or JSON besides the image."""

PATH = "/v1/vision/face"
SHAPE = Shape(
    "/v1/vision",
    lambda error, _: {"success": False, "error": str(error)},
    DeepStackError.__name__,
    statuses={422: 400},
)

EXAMPLE: dict[str, Any] = {
    "success": True,
    "predictions": [
        {"label": "face", "confidence": 0.9987, "x_min": 412, "y_min": 96, "x_max": 474,
         "y_max": 177}
    ],
    "duration": 80,
    "message": "Found 1 face",
    "count": 1,
    "code": 200,
    "inferenceMs": 72,
    "processMs": 80,
}  # fmt: skip

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "min_confidence": {
                            "type": "number",
                            "minimum": 0,
                            "maximum": 1,
                            "description": "Minimum confidence of a face (default: the model's).",
                        },
                        KEY: {
                            "type": "string",
                            "description": "The API key, if the service has keys and no header "
                            "carries it.",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    PATH,
    summary="Find the faces in an image, like DeepStack",
    openapi_extra=FORM,
    responses={
        200: openapi.example(EXAMPLE, model=DeepStackAnswer),
        **openapi.responses(*DETECTION, InvalidParameter, shape=SHAPE),
    },
)
async def deepstack_face(request: Request) -> Response:
    """Answers with whole pixels of the upright image; other fields are ignored."""
    runtime: Runtime = request.app.state.runtime
    detector = runtime.default
    with admit(request, detector) as admission:
        read_json = partial(uploads.from_json, known=FIELDS)
        sent = await admission.read(max_images=1, read_json=read_json, known=FIELDS)
        fields = dict(sent.fields)
        header = keys.in_headers(request.headers)
        key = header if header is not None else fields.get(KEY)
        runtime.keys.check(key, f"in the form field {KEY}")
        given = parameters.validated(Parameters, fields)
        query = Query(min_score=given.min_confidence)
        found = await admission.detect_one(detector, sent, query)
    faces = [
        {"label": "face", "confidence": round(score, 4), "x_min": x1, "y_min": y1, "x_max": x2,
         "y_max": y2}
        for (x1, y1, x2, y2), score in zip(
            whole_pixels(found), found.scores.tolist(), strict=True
        )
    ]  # fmt: skip
    total = round(found.timings.total * 1000)
    answer = {
        "success": True,
        "predictions": faces,
        "duration": total,
        "message": f"Found {counted(len(faces), 'face')}",
        "count": len(faces),
        "code": 200,
        "inferenceMs": round(found.timings.inference * 1000),
        "processMs": total,
    }
    return JSONResponse(answer, headers={"Server-Timing": found.timings.server_timing()})


# After the route above, for all other paths.
refuse(
    router,
    "/v1/vision/{operation:path}",
    ["POST"],
    "this service only answers /v1/vision/face. It finds faces, does not recognise people, and "
    "finds no other objects",
)

API = Api(router, SHAPE, [DeepStackError], key_in_body=PATH)
