"""The OpenAPI document: adds requests and problems that FastAPI can't see, with examples."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from detection.errors import InvalidImage, Overloaded, RequestError
from service import problems, schemas
from service.openinference import messages

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "format": "byte", "description": "An image file in base64."}
_URL = {"type": "string", "description": "The http or https URL of an image file."}
GIF = "R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
"""The smallest image file there is, in base64."""
_REFERENCE = "#/components/schemas/{model}"


def _parameters() -> dict[str, Any]:
    """The schema of each parameter of /detect, as a member of a body."""
    described = schemas.DetectParameters.model_json_schema()["properties"]
    for schema in described.values():
        _drop_null(schema)
        schema.pop("title", None)
        if schema.get("default", "") is None:
            del schema["default"]
    return dict(described)


def _drop_null(schema: dict[str, Any]) -> None:
    """Remove null from an optional parameter: a query string has no null."""
    match schema.get("anyOf"):
        case [alternative, {"type": "null"}]:
            del schema["anyOf"]
            schema |= alternative


# Named, because generators make a class of each and name an unnamed one after its whole path.
REQUESTS: dict[str, dict[str, Any]] = {
    "OneImage": {
        "type": "object",
        "description": "One image, and parameters; answered by DetectAnswer.",
        "required": ["image"],
        "properties": {"image": _BASE64, **_parameters()},
        "additionalProperties": False,
    },
    "SeveralImages": {
        "type": "object",
        "description": "Several images, and parameters; answered by DetectManyAnswer, even for "
        "one image.",
        "required": ["images"],
        "properties": {
            "images": {"type": "array", "items": _BASE64, "minItems": 1},
            **_parameters(),
        },
        "additionalProperties": False,
    },
    "OneUrl": {
        "type": "object",
        "description": "Where one image is, and parameters; only from the hosts that the service "
        "lists (SFD_FETCH_HOSTS). Answered by DetectAnswer.",
        "required": ["url"],
        "properties": {"url": _URL, **_parameters()},
        "additionalProperties": False,
    },
    "SeveralUrls": {
        "type": "object",
        "description": "Where several images are, and parameters; answered by DetectManyAnswer.",
        "required": ["urls"],
        "properties": {
            "urls": {"type": "array", "items": _URL, "minItems": 1},
            **_parameters(),
        },
        "additionalProperties": False,
    },
    "ImageParts": {
        "type": "object",
        "description": "One image file in each part, under any name; parameters as form fields.",
        "additionalProperties": {"type": "string", "format": "binary"},
        "minProperties": 1,
        "properties": {"image": {"type": "string", "format": "binary"}, **_parameters()},
    },
}
"""The schemas of bodies that `service.uploads` reads."""

IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image file as it is; one or many as parts of a form, under any field "
        "name; or in JSON as base64. Parameters may come as form fields or JSON "
        "members too. The format of a file is recognised from its bytes, not from its label: "
        "JPEG, PNG, WebP, BMP, GIF and TIFF (first frame), AVIF.",
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {"schema": {"$ref": _REFERENCE.format(model="ImageParts")}},
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": _REFERENCE.format(model="OneImage")},
                        {"$ref": _REFERENCE.format(model="SeveralImages")},
                        {"$ref": _REFERENCE.format(model="OneUrl")},
                        {"$ref": _REFERENCE.format(model="SeveralUrls")},
                    ]
                },
                "examples": {
                    "one": {"summary": "One image", "value": {"image": GIF}},
                    "several": {"summary": "Several images", "value": {"images": [GIF, GIF]}},
                },
            },
        },
    }
}
"""The body of a request to detect."""

EXAMPLE_MODEL = "example-model"
"""Invented, like all examples: publishing weights must not change this document."""

ONE_EXAMPLE: dict[str, Any] = {
    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "model": {"name": EXAMPLE_MODEL, "version": "1"},
    "image": {"width": 1024, "height": 678},
    "faces": [{"box": {"x": 412.31, "y": 96.04, "width": 61.22, "height": 80.9}, "score": 0.9987}],
    "timings_ms": {
        "decode": 4.1,
        "preprocess": 1.3,
        "queue": 2.0,
        "inference": 71.8,
        "postprocess": 0.6,
        "total": 80.2,
    },
    "batch_size": 3,
}
"""The answer for one image."""

DETAILS = {
    "invalid-image": "the JPEG data is broken: image file is truncated (3 bytes not processed)",
    "invalid-request": "no input 'photo'; there is image and images",
    "preflight-refused": "not allowed for a page of another origin: origin",
    "unauthorized": "an API key is needed, in X-API-Key or as Authorization: Bearer",
    "host-not-allowed": "example.org is not one of the allowed hosts for images",
    "not-found": "no /detekt here; /docs shows what there is",
    "unknown-model": f"no model 'sfd'; there is {EXAMPLE_MODEL}",
    "method-not-allowed": "/detect takes POST, not GET",
    "not-acceptable": "the picture is sent as image/jpeg or image/png",
    "payload-too-large": "the request body is larger than 20 MiB",
    "too-many-pixels": "the image has 280 megapixels (20000 x 14000); the limit is 50 megapixels",
    "unsupported-media-type": "this is PDF, not one of JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF",
    "invalid-parameter": "min_score: Input should be less than or equal to 1",
    "internal-error": "the model failed on this image; the log says more",
    "fetch-failed": "images.example.org answered 404",
    "not-supported": "this service finds faces; it does not recognise people, and keeps no faces",
    "too-expensive": "this image takes too long to decode or draw: more than 10 s of CPU time",
    "out-of-memory": "too little memory is left for this image; try again later",
    "overloaded": "the queue of 128 images is full; try again later",
    "timeout": "the deadline of the request passed",
}
"""An example of a problem's detail, by slug."""


def problem(kind: type[RequestError], shape: problems.Shape = problems.PROBLEM) -> dict[str, Any]:
    """An example of the body of a problem."""
    return dict(shape.body(kind(DETAILS[kind.slug]), ONE_EXAMPLE["request_id"]))


SEVERAL_EXAMPLE: dict[str, Any] = {
    "request_id": ONE_EXAMPLE["request_id"],
    "model": ONE_EXAMPLE["model"],
    "results": [
        {name: ONE_EXAMPLE[name] for name in ("image", "faces", "timings_ms", "batch_size")},
        {"error": problem(InvalidImage)},
    ],
    "timings_ms": ONE_EXAMPLE["timings_ms"],
}
"""The answer for several images, of which the second is broken."""


def example(value: object, **response: object) -> dict[str, Any]:
    """A route's response in JSON with an example, and further members by name."""
    return {**response, "content": {"application/json": {"example": value}}}


def responses(
    *kinds: type[RequestError], shape: problems.Shape = problems.PROBLEM
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can end in these problems, with an example of each."""
    described: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        content = {"schema": {"$ref": _REFERENCE.format(model=shape.schema)}, "examples": {}}
        entry = described.setdefault(
            shape.status(kind),
            {"description": kind.title, "content": {shape.media_type: content}},
        )
        examples = entry["content"][shape.media_type]["examples"]
        examples[kind.slug] = {"value": problem(kind, shape)}
        if kind is Overloaded:
            entry["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return described


def operation_id(route: APIRoute) -> str:
    """The name of a route's function, which a generated client uses for its own function."""
    return route.name


def document(app: FastAPI, models: Sequence[type[BaseModel]] = ()) -> dict[str, Any]:
    """The whole document of an app, made once, with the schemas of `models` too."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        parts = made.setdefault("components", {})
        known = parts.setdefault("schemas", {})
        known |= REQUESTS
        # Schemas of models that only our own descriptions refer to.
        _, described = models_json_schema(
            [
                (schemas.Problem, "validation"),
                (messages.InferenceError, "validation"),
                (messages.InferenceRequest, "validation"),
                *((model, "validation") for model in models),
            ],
            ref_template=_REFERENCE,
        )
        known |= described["$defs"]
        _drop_frameworks_422(made)
        _drop_null_of_parameters(made)
        parts["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        # Either key or none: keys are needed only if the service has some.
        made["security"] = [{}, {"key": []}, {"bearer": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _drop_frameworks_422(made: dict[str, Any]) -> None:
    """Remove the 422 that FastAPI adds: ours is a Problem, and stated where it can occur."""
    for operations in made["paths"].values():
        for operation in operations.values():
            stated = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(stated):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)


def _drop_null_of_parameters(made: dict[str, Any]) -> None:
    """Remove null from optional parameters: a query string has no null."""
    for operations in made["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                _drop_null(parameter["schema"])
