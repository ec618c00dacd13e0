"""The parts that the adapters share: their description, refusals, and whole pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator

from detection.detector import Detection
from service.errors import NotSupported
from service.problems import Shape

blank_is_absent = BeforeValidator(lambda text: text or None)
"""An empty parameter counts as not given."""


@dataclass(frozen=True, slots=True)
class Api:
    """Another product's API."""

    router: APIRouter
    shape: Shape
    """The format of its errors, and the common prefix of its paths."""
    models: Sequence[type[BaseModel]]
    """Schemas that only the OpenAPI document refers to."""
    key_in_body: str = ""
    """The path to which its clients POST the API key in the body; its route checks the key."""


def refuse(router: APIRouter, path: str, methods: Sequence[str], detail: str) -> None:
    """Refuse features that this service lacks with 501, in the product's own format."""

    async def not_supported(request: Request) -> None:
        raise NotSupported(f"{request.scope['path'][:200]}: {detail}")

    router.add_api_route(path, not_supported, methods=list(methods), include_in_schema=False)


def whole_pixels(detection: Detection) -> list[tuple[int, int, int, int]]:
    """The boxes as whole pixels x1, y1, x2, y2 inside the image, each at least one pixel wide."""
    size = np.array([detection.width, detection.height])
    low = np.minimum(np.rint(detection.boxes[:, :2]), size - 1)
    high = np.clip(np.rint(detection.boxes[:, 2:]), low + 1, size)
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in np.hstack([low, high]).astype(np.int64).tolist()]
