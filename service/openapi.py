"""The OpenAPI document: what FastAPI cannot see of requests and problems, with examples."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import errors, problems, schemas
from service.openinference import messages

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "format": "byte", "description": "An image file in base64."}

IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image file as it is; one or many as parts of a form, under any field "
        "name; or in JSON as base64. What a file is, is read from its bytes, not its label: "
        "JPEG, PNG, WebP, BMP, GIF and TIFF (first frame), AVIF.",
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "format": "binary"},
                    "minProperties": 1,
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "application/json": {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "title": "One image",
                            "required": ["image"],
                            "properties": {"image": _BASE64},
                            "additionalProperties": False,
                        },
                        {
                            "type": "object",
                            "title": "Several images",
                            "required": ["images"],
                            "properties": {
                                "images": {"type": "array", "items": _BASE64, "minItems": 1}
                            },
                            "additionalProperties": False,
                        },
                    ]
                },
                "examples": {
                    "one": {"value": {"image": "R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="}}
                },
            },
        },
    }
}
"""The body of a request to detect."""

ONE_EXAMPLE: dict[str, Any] = {
    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "model": {"name": "sfd-640-mobilenetv2-mod2", "version": "1"},
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

DETAILS = {
    "invalid-image": "the JPEG data is broken: image file is truncated (3 bytes not processed)",
    "invalid-request": "no input 'photo'; there is image and images",
    "unauthorized": "an API key is needed, in X-API-Key or as Authorization: Bearer",
    "not-found": "no /detekt here; /docs shows what there is",
    "unknown-model": "no model 'sfd'; there is sfd-640-mobilenetv2-mod2",
    "method-not-allowed": "/detect takes POST, not GET",
    "not-acceptable": "the picture is sent as image/jpeg or image/png",
    "payload-too-large": "the request body is larger than 20971520 bytes",
    "too-many-pixels": "the image has 20000 x 14000 pixels; at most 50000000 are decoded",
    "unsupported-media-type": "this is PDF, not one of JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF",
    "invalid-parameter": "min_score: Input should be less than or equal to 1",
    "internal-error": "the model failed on this image",
    "overloaded": "the queue of 128 images is full",
    "timeout": "the deadline of the request passed",
}
"""By slug, an example of what a problem says."""


def responses(*kinds: type[errors.Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can end in these problems, with an example of each."""
    described: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = described.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    problems.MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        example = {
            "type": kind.slug,
            "title": kind.title,
            "status": kind.status,
            "detail": DETAILS[kind.slug],
            "request_id": ONE_EXAMPLE["request_id"],
        }
        entry["content"][problems.MEDIA_TYPE]["examples"][kind.slug] = {"value": example}
        if kind is errors.Overloaded:
            entry["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return described


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document of an app, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        parts = made.setdefault("components", {})
        known = parts.setdefault("schemas", {})
        # Of models that only our own descriptions refer to.
        for model in (schemas.Problem, messages.InferenceError, messages.InputTensor,
                      messages.WantedOutput):  # fmt: skip
            known[model.__name__] = model.model_json_schema()
        _drop_frameworks_422(made)
        parts["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        # Either, or none: keys are asked for only where the service has some.
        made["security"] = [{}, {"key": []}, {"bearer": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _drop_frameworks_422(made: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI adds by itself: ours is a Problem, stated where it can be."""
    for operations in made["paths"].values():
        for operation in operations.values():
            stated = operation["responses"].get("422", {})
            if "HTTPValidationError" in str(stated):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
