"""The JSON of the API, as models: what the routes write and the OpenAPI document shows."""

import base64
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from detection.crops import MARGIN, MAX_MARGIN, MAX_SIZE, SIZE
from detection.detector import Detection, Detector, Query
from detection.rendering import Style
from detection.timings import Timings


class FaceParameters(BaseModel):
    """Which boxes count as faces. Unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    min_score: Annotated[
        float | None,
        Field(ge=0, le=1, description="Minimum score of a face (default: the model's)."),
    ] = None
    nms_iou: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Overlap (IoU) above which the weaker of two boxes is dropped "
            "(default: the model's).",
        ),
    ] = None
    max_faces: Annotated[
        int | None,
        Field(ge=1, le=100_000, description="Maximum number of faces in an image, best first."),
    ] = None
    min_size: Annotated[
        float,
        Field(
            ge=0,
            le=100_000,
            description="Minimum width and height of a face's box, in pixels of the upright image.",
        ),
    ] = 0.0
    tiles: Annotated[
        Literal["off", "auto"],
        Field(
            description="auto: an image larger than the network's input is also searched in "
            "overlapping tiles at full resolution. This finds small faces, but takes several "
            "times as long."
        ),
    ] = "off"

    def query(self) -> Query:
        """The same for the detector."""
        return Query(
            min_score=self.min_score,
            nms_iou=self.nms_iou,
            max_faces=self.max_faces,
            min_size=self.min_size,
            tiles=self.tiles == "auto",
        )


class DetectParameters(FaceParameters):
    """The query of POST /detect."""

    render: Annotated[
        Literal[Style, "crops"] | None,
        Field(
            description="Answer with the picture: boxes drawn, or faces hidden by blur or "
            "pixelate. PNG or JPEG, as Accept says, else as the image came. crops: a ZIP file "
            "with a JPEG of each face, and faces.json. One image only."
        ),
    ] = None
    crops: Annotated[bool, Field(description="Add a JPEG of each face to the JSON, as base64.")] = (
        False
    )
    crop_margin: Annotated[
        float,
        Field(
            ge=0,
            le=MAX_MARGIN,
            description="Margin of a crop around the box, as a fraction of the box's longer side.",
        ),
    ] = MARGIN
    crop_size: Annotated[
        int,
        Field(
            ge=16,
            le=MAX_SIZE,
            description="Longest side of a crop, in pixels. No crop is enlarged.",
        ),
    ] = SIZE
    model: Annotated[
        str | None,
        Field(description="Name of the model, one of GET /models (default: the service's)."),
    ] = None


class Box(BaseModel):
    """A rectangle in pixels of the upright image: its top left corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Face(BaseModel):
    """One face."""

    box: Box
    score: Annotated[float, Field(ge=0, le=1)]
    crop: Annotated[
        str | None,
        Field(description="With `crops`: the face as a JPEG file, in base64."),
    ] = None


class ImageSize(BaseModel):
    """Size of the upright image in pixels."""

    width: int
    height: int


class ModelVersion(BaseModel):
    """Which model answered."""

    name: str
    version: str

    @classmethod
    def of(cls, detector: Detector) -> Self:
        """The model of a detector."""
        model = detector.session.model
        return cls(name=model.name, version=model.version)


class StageTimes(BaseModel):
    """Milliseconds in each stage."""

    decode: float
    preprocess: float
    queue: float
    inference: float
    postprocess: float
    total: float

    @classmethod
    def of(cls, timings: Timings) -> Self:
        """From seconds."""
        return cls(**timings.milliseconds())


class ImageResult(BaseModel):
    """The faces of one image, best first; none is an empty list."""

    image: ImageSize
    faces: list[Face]
    timings_ms: StageTimes
    batch_size: Annotated[int, Field(description="Images in the same inference.")]

    @classmethod
    def of(cls, detection: Detection, crops: Sequence[bytes] | None = None) -> Self:
        """The JSON of a detection, with a JPEG file of each face where there are `crops`."""
        result = cls.model_validate(detection.as_dict())
        for face, crop in zip(result.faces, crops or (), strict=False):
            face.crop = base64.b64encode(crop).decode()
        return result


class Answer(BaseModel):
    """The first members of every answer."""

    request_id: str
    model: ModelVersion


class DetectAnswer(ImageResult, Answer):
    """The answer for one image."""


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: Annotated[str, Field(description="The kind of problem.")]
    title: Annotated[str, Field(description="The kind of problem, in words.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What happened this time.")]
    request_id: str


class ImageError(BaseModel):
    """One image of several that failed."""

    error: Problem


class DetectManyAnswer(Answer):
    """The answer for several images, in their order."""

    results: list[ImageResult | ImageError]
    timings_ms: Annotated[
        StageTimes,
        Field(
            description="The longest time among the images in each stage; `total` is the request's."
        ),
    ]
