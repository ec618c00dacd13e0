"""The JSON of the protocol, as its specification names it.

Open Inference Protocol, `inference_rest.md`; Triton's `extension_binary_data.md` and
`extension_parameters.md`. Unknown members are ignored, as the protocol allows. An unknown request
parameter is refused, because a misspelt threshold must not be ignored. So is a member that has two
different values.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    FailFast,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
)

from service import uploads
from service.errors import InvalidParameter, InvalidRequest, PayloadTooLarge
from service.schemas import FaceParameters
from sfd.validation import words

MOST_VALUES = 2_000_000
"""In JSON. One image of 640 x 640 has 1.2 million values. More must be sent as binary data, because
a parsed value takes up to a hundred times its bytes."""
MOST_LISTS = 500_000
MOST_PARAMETERS = 32

Parameters = dict[str, Any]


def _no_bool_or_text(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


Dimension = Annotated[int, Field(ge=0, le=2**31), BeforeValidator(_no_bool_or_text)]


class InputTensor(BaseModel):
    """A tensor of a request: `data` in JSON, or `binary_data_size` bytes after the JSON."""

    name: str
    shape: Annotated[list[Dimension], Field(min_length=1, max_length=8), FailFast()]
    datatype: str
    parameters: Parameters = {}
    data: Annotated[
        list[Any] | None,
        Field(description="Flat or nested, in row-major order; BYTES as base64 text."),
    ] = None


class WantedOutput(BaseModel):
    """An output that the client asks for; `binary_data` sends it after the JSON."""

    name: str
    parameters: Parameters = {}


class InferenceRequest(BaseModel):
    """What to infer: either `image`, image files, or `images`, pixels as the network takes them.

    `parameters` are those of POST /detect: min_score, nms_iou, max_faces, min_size and tiles.
    """

    id: str | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=8), FailFast()]
    outputs: Annotated[
        list[WantedOutput],
        Field(max_length=8, description="Default: all of the input's."),
        FailFast(),
    ] = []


class InferenceParameters(FaceParameters):
    """The request parameters. A number may come as text, as in gRPC's `string_param`.

    Triton's parameters for models with state are accepted and ignored.
    """

    binary_data_output: StrictBool = False
    timeout: Annotated[
        int | None, Field(ge=0, lt=2**63, description="Microseconds; 0 means none.")
    ] = None
    priority: Any = None
    sequence_id: Any = None
    sequence_start: Any = None
    sequence_end: Any = None

    @field_validator("min_score", "nms_iou", "max_faces", "min_size", "timeout", mode="before")
    @classmethod
    def _no_bool(cls, value: Any) -> Any:
        # Pydantic takes true as 1.
        if isinstance(value, bool):
            raise ValueError("must be a number, not true or false")
        return value


class OutputTensor(BaseModel):
    """A tensor of an answer: `data` flat in row-major order, or a `binary_data_size`."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferenceResponse(BaseModel):
    """The outputs; binary ones follow the JSON in their order.

    The length of the JSON is then in the header Inference-Header-Content-Length.
    """

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class InferenceError(BaseModel):
    """What went wrong."""

    error: str


class ServerMetadata(BaseModel):
    """The server, and its extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the process answers."""

    live: bool


class ServerReady(BaseModel):
    """Whether requests are taken."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model takes requests."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model's tensors; a request has one of the two inputs.

    `image` gives `detections` and `num_detections`, `images` gives `boxes` and `scores`.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def parse(header: bytes) -> InferenceRequest:
    """Parse the JSON of a request. Raises InvalidRequest if it is wrong, or ambiguous.

    Raises PayloadTooLarge, before parsing, for more values than a request can need.
    """
    if header.count(b",") > MOST_VALUES or header.count(b"[") + header.count(b"{") > MOST_LISTS:
        raise PayloadTooLarge("too many values for JSON; send the tensor as binary data")
    try:
        given = InferenceRequest.model_validate_json(header)
    except ValidationError as error:
        raise _invalid(error) from None
    parts: list[InferenceRequest | InputTensor | WantedOutput]
    parts = [given, *given.inputs, *given.outputs]
    members = sum(len(part.model_fields_set) + len(part.parameters) for part in parts)
    try:
        uploads.refuse_repeated(header, members)
    except InvalidParameter as error:
        raise InvalidRequest(f"the inference request: {error}") from None
    return given


def validate(members: dict[str, Any]) -> InferenceRequest:
    """A request whose members come from another format. Raises InvalidRequest if one is wrong."""
    try:
        return InferenceRequest.model_validate(members)
    except ValidationError as error:
        raise _invalid(error) from None


def parse_parameters(given: Parameters) -> InferenceParameters:
    """The request parameters. Raises InvalidRequest if one is unknown or out of range."""
    if len(given) > MOST_PARAMETERS:
        raise InvalidRequest(f"more than {MOST_PARAMETERS} request parameters")
    kept = {name: v for name, v in given.items() if not name.startswith("triton_")}
    try:
        return InferenceParameters.model_validate(kept)
    except ValidationError as error:
        raise InvalidRequest(f"the request parameters: {_first(error)}") from None


def _invalid(error: ValidationError) -> InvalidRequest:
    return InvalidRequest(f"the inference request: {_first(error)}")


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part)[:100] for part in first["loc"])
    text = "unknown parameter" if first["type"] == "extra_forbidden" else words(first)
    return f"{where}: {text}" if where else text
