"""Describes the protocol's requests and errors, with examples."""

from typing import Any

from service.openapi import EXAMPLE_MODEL, GIF

REQUEST_EXAMPLE: dict[str, Any] = {
    "id": "42",
    "parameters": {"min_score": 0.6},
    "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [GIF]}],
    "outputs": [{"name": "detections"}],
}

ANSWER_EXAMPLE: dict[str, Any] = {
    "model_name": EXAMPLE_MODEL,
    "model_version": "1",
    "id": "42",
    "outputs": [
        {
            "name": "detections",
            "datatype": "FP32",
            "shape": [1, 6],
            "data": [0.0, 412.31, 96.04, 473.53, 176.94, 0.9987],
        },
        {"name": "num_detections", "datatype": "INT32", "shape": [1], "data": [1]},
    ],
}

METADATA_EXAMPLE: dict[str, Any] = {
    "name": EXAMPLE_MODEL,
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "images", "datatype": "UINT8", "shape": [-1, 640, 640, 3]},
    ],
    "outputs": [
        {"name": "detections", "datatype": "FP32", "shape": [-1, 6]},
        {"name": "num_detections", "datatype": "INT32", "shape": [-1]},
        {"name": "boxes", "datatype": "FP32", "shape": [-1, 14925, 4]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, 14925, 1]},
    ],
}


def infer_request(header_length: str) -> dict[str, Any]:
    """The body of an inference request, and the header that states the length of its JSON."""
    return {
        "parameters": [
            {
                "name": header_length,
                "in": "header",
                "description": "Bytes of the JSON at the start of the body, where binary data "
                "follows it. Without it, the body is JSON.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "description": "JSON, alone or with the binary data of its inputs after it. "
            "Content-Encoding gzip and deflate are read.",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/InferenceRequest"},
                    "example": REQUEST_EXAMPLE,
                },
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    }
