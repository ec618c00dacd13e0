"""GET /models: the models of this service."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from detection.detector import Detector
from service import openapi
from service.errors import Unauthorized, UnknownModel
from service.runtime import Runtime

router = APIRouter(tags=["models"])


class Size(BaseModel):
    """The network's input in pixels."""

    width: int
    height: int


class Thresholds(BaseModel):
    """Defaults of the parameters. For top_k and keep_top_k, -1 means no limit."""

    min_score: float
    nms_iou: float
    top_k: int
    keep_top_k: int


class ModelSummary(BaseModel):
    """One model of this process."""

    name: str
    version: str
    title: str
    default: bool
    ready: bool
    provider: str
    """The execution provider: one of the values of SFD_PROVIDER except auto."""
    provider_fallback: str | None
    """Why SFD_PROVIDER=auto did not choose a faster provider."""
    precision: str
    """What runs: one of the values of SFD_PRECISION, or int8+bfloat16."""
    workers: int
    """Batches that run at the same time."""
    threads: int
    """Of each worker."""
    lone_threads: int
    """Of an image that is alone, if that is more than a worker has; otherwise 0."""
    max_batch: int
    """Most images in one inference."""
    plan: str
    """How these were chosen, and the provider if it was auto: by the settings, or by a
    measurement at the start."""
    second_look: bool
    """Whether images with large faces get a second look."""
    input: Size
    thresholds: Thresholds


class ModelResult(BaseModel):
    """What was measured."""

    dataset: str
    protocol: str
    metric: str
    values: Mapping[str, float]


class ModelDetails(ModelSummary):
    """One model with its origin and how it was made."""

    description: str
    licence: str
    origin: str
    classes: list[str]
    sources: dict[str, str]
    """Sha256 of each source file."""
    onnx: str
    """Sha256 of the ONNX file that runs."""
    converter: str
    verification: str
    results: list[ModelResult]


class ModelList(BaseModel):
    """All models of this process, the default one first."""

    models: list[ModelSummary]


_EXAMPLE_HASH = "0123456789abcdef" * 4

SUMMARY_EXAMPLE: dict[str, Any] = {
    "name": openapi.EXAMPLE_MODEL,
    "version": "1",
    "title": "An example of a face detector",
    "default": True,
    "ready": True,
    "provider": "cpu",
    # Usually null, but FastAPI drops null members from the document.
    "provider_fallback": "this onnxruntime has no CUDAExecutionProvider, only "
    "CPUExecutionProvider (install the package that has it: onnxruntime-gpu, the extra `gpu`)",
    "precision": "float32",
    "workers": 2,
    "threads": 1,
    "lone_threads": 2,
    "max_batch": 1,
    "plan": "measured: 40.0 ms with 1 worker at batch 1, 36.0 ms with 2 workers at batch 1",
    "second_look": False,
    "input": {"width": 640, "height": 480},
    "thresholds": {"min_score": 0.5, "nms_iou": 0.3, "top_k": 5000, "keep_top_k": 750},
}

DETAILS_EXAMPLE: dict[str, Any] = {
    **SUMMARY_EXAMPLE,
    "description": "What the model is, from its model.toml.",
    "licence": "MIT",
    "origin": "Where the model comes from.",
    "classes": ["face"],
    "sources": {"deploy": _EXAMPLE_HASH, "weights": _EXAMPLE_HASH},
    "onnx": _EXAMPLE_HASH,
    "converter": "1.2.3",
    "verification": "verified",
    "results": [
        {
            "dataset": "100 photographs",
            "protocol": "letterbox",
            "metric": "average precision at IoU 0.5",
            "values": {"all": 0.5},
        }
    ],
}


@router.get(
    "/models",
    summary="List the models",
    responses={
        200: openapi.example({"models": [SUMMARY_EXAMPLE]}),
        **openapi.responses(Unauthorized),
    },
)
async def list_models(request: Request) -> ModelList:
    """The models that requests can name, the default one first."""
    runtime: Runtime = request.app.state.runtime
    return ModelList(models=[summary(runtime, each) for each in runtime.detectors.values()])


@router.get(
    "/models/{name}",
    summary="Describe a model",
    responses={
        200: openapi.example(DETAILS_EXAMPLE),
        **openapi.responses(Unauthorized, UnknownModel),
    },
)
async def describe_model(request: Request, name: str) -> ModelDetails:
    """One model with its licence, origin, hashes and measured results."""
    runtime: Runtime = request.app.state.runtime
    detector = runtime.detector(name)
    described, build = detector.session.model, detector.session.build
    return ModelDetails(
        **summary(runtime, detector).model_dump(),
        description=described.description,
        licence=described.licence,
        origin=described.origin,
        classes=list(described.classes),
        sources={role: source.sha256 for role, source in described.sources.items()},
        onnx=detector.session.sha256,
        converter=build.converter,
        verification=build.verification,
        results=[
            ModelResult(
                dataset=each.dataset,
                protocol=each.protocol,
                metric=each.metric,
                values=each.values,
            )
            for each in described.results
            if each.values
        ],
    )


def summary(runtime: Runtime, detector: Detector) -> ModelSummary:
    """The entry of a model in the list."""
    session = detector.session
    thresholds = session.model.thresholds
    return ModelSummary(
        name=session.model.name,
        version=session.model.version,
        title=session.model.title,
        default=detector is runtime.default,
        ready=runtime.is_ready,
        provider=session.provider,
        provider_fallback=session.fallback,
        precision=session.precision,
        workers=detector.plan.workers,
        threads=detector.plan.threads,
        lone_threads=detector.plan.lone_threads,
        max_batch=detector.plan.max_batch,
        plan=detector.plan.reason,
        second_look=session.second is not None,
        input=Size(width=session.model.input.width, height=session.model.input.height),
        thresholds=Thresholds(
            min_score=thresholds.default_score,
            nms_iou=thresholds.nms_iou,
            top_k=thresholds.top_k,
            keep_top_k=thresholds.keep_top_k,
        ),
    )
