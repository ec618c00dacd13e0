"""The settings of detection, from environment variables `SFD_*`; the service adds its own."""

import ast
import difflib
import inspect
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args

from annotated_types import Ge, Gt, Le
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from detection.cpu import available_cpus
from detection.errors import StartError
from detection.limits import (
    LEAST_DECODE_MEMORY,
    MAX_BATCH,
    MAX_PIXELS,
    MAX_QUEUE,
    MAX_THREADS,
    MAX_WORKERS,
)
from detection.precision import Precision
from detection.providers import ProviderName
from sfd.validation import words

PREFIX = "SFD_"
DEFAULT_MODEL = "sfd-640-mobilenetv2-mod2"


def split(value: object) -> object:
    """`a, b` as a list; an empty variable as no items."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def strip(value: object) -> object:
    """Text without the blanks around it."""
    return value.strip() if isinstance(value, str) else value


def lower(value: object) -> object:
    """Text in lower case: `CPU` is accepted for `cpu`."""
    return value.lower() if isinstance(value, str) else value


def split_lower(value: object) -> object:
    """`A, b` as a list in lower case."""
    return split(lower(value))


_UNITS = {
    "": 1,
    **{
        unit: 10 ** (3 * power)
        for power, units in enumerate((("k", "kb", "kp"), ("m", "mb", "mp"), ("g", "gb", "gp")), 1)
        for unit in units
    },
    **{unit: 2 ** (10 * power) for power, unit in enumerate(("kib", "mib", "gib"), 1)},
}


def quantity(value: object) -> object:
    """`20MB`, `1.5 GiB` or `50MP` as a whole number; other values stay as they are."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].lower() not in _UNITS:
        return value
    number = Decimal(found[1]) * _UNITS[found[2].lower()]
    return int(number) if number == int(number) else value


@dataclass(frozen=True)
class Unit:
    """The unit of a number, for the settings' documentation."""

    name: str
    example: str


@dataclass(frozen=True)
class Listed:
    """The items of a list of texts, for the settings' documentation."""

    name: str
    form: str


Bytes = Annotated[int, BeforeValidator(quantity), Ge(1), Le(2**31), Unit("bytes", "20MB or 20MiB")]
DecodeMemory = Annotated[
    int,
    BeforeValidator(quantity),
    Ge(LEAST_DECODE_MEMORY),
    Le(2**31),
    Unit("bytes", "200MB or 200MiB"),
]
PixelCount = Annotated[int, BeforeValidator(quantity), Ge(1), Le(2**31), Unit("pixels", "50MP")]

Auto = Literal["auto"]
Workers = Annotated[Auto, BeforeValidator(lower)] | Annotated[int, Ge(1), Le(MAX_WORKERS)]
MaxBatch = Annotated[Auto, BeforeValidator(lower)] | Annotated[int, Ge(1), Le(MAX_BATCH)]
ReducedDecoding = Annotated[Auto, BeforeValidator(lower)] | bool

# Plain commas instead of pydantic-settings' JSON: what people type into a compose file.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]


class DetectionSettings(BaseSettings):
    """The settings that `sfd detect` and the service share.

    Each is the environment variable `SFD_` + its name.

    The docstrings are the text of `sfd serve --help` and of docs/settings.md.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    model_store: Path | None = None
    """Folder of the model folders. Default: ./model_store, else the checkout's. An installed sfd
    also searches your data folder and the models that came with it."""

    models: Names = ()
    """Names of the models to serve, separated by commas. Default: only SFD_DEFAULT_MODEL.
    If neither is set: sfd-640-mobilenetv2-mod2."""

    default_model: Annotated[str, BeforeValidator(strip)] = ""
    """The model for requests that name no model. Default: the first of SFD_MODELS."""

    provider: Annotated[ProviderName, BeforeValidator(lower)] = ProviderName.AUTO
    """The execution provider. auto: CUDA if it works; otherwise the faster of OpenVINO, if it is
    installed, and the CPU. If any other value doesn't work, the service does not start. cuda and
    tensorrt need onnxruntime-gpu, openvino needs onnxruntime-openvino, each instead of
    onnxruntime."""

    precision: Annotated[Precision, BeforeValidator(lower)] = Precision.FLOAT32
    """The numbers in which a model is computed (docs/precision.md). bfloat16 needs the provider
    openvino, int8 needs a file that `sfd models quantize` makes. If the provider, the processor or
    the model can't, the service does not start."""

    threads: Annotated[int, Ge(1), Le(MAX_THREADS)] = Field(default_factory=available_cpus)
    """Inference threads of each model, and decoding threads. Default: the CPUs of this process."""

    workers: Workers = "auto"
    """Batches of one model that run at the same time; they share its inference threads. On a CPU,
    an image that is the only one of its model in the service gets all these threads. auto: on a
    CPU, one worker for each thread, or one worker if that is faster by a tenth, measured at the
    start."""

    max_batch: MaxBatch = "auto"
    """The largest number of images in one inference. auto: on a CPU, whichever of 1, 2, 4 and 8
    costs least for an image, measured at the start; elsewhere 8."""

    max_wait_ms: Annotated[float, Ge(0), Le(1000)] = 5.0
    """The longest time that an image waits for others to fill its batch, in milliseconds."""

    queue_limit: Annotated[int, Ge(1), Le(MAX_QUEUE)] = 128
    """Most images that may wait for inference; further requests are answered 503."""

    max_pixels: PixelCount = MAX_PIXELS
    """Largest image, in pixels."""

    reduced_decoding: ReducedDecoding = "auto"
    """Whether a large JPEG is decoded at 1/2, 1/4 or 1/8 of its width and height, which takes less
    time. auto: if the reduced picture is still at least four times as wide or as high as the
    network's input; boxes hardly move. true: if it is still at least twice as wide or as high;
    boxes move a little (docs/sizing.md). false: never."""

    second_look: bool = True
    """Whether an image that seems to have a large face is looked at a second time, at a smaller
    size, by a model that needs this for faces that nearly fill the image (docs/closeups.md)."""

    decoding: Annotated[Literal["processes", "threads"], BeforeValidator(lower)] = "processes"
    """Where images are decoded and drawn. processes: in processes of their own, which are stopped
    when an image takes too much time or memory. threads: in this process, without such limits;
    only for images that you trust."""

    decode_cpu_s: Annotated[float, Gt(0), Le(3600)] = 10.0
    """CPU seconds that decoding or drawing one image may take. No effect with threads."""

    decode_memory: DecodeMemory | None = None
    """Memory that decoding or drawing one image may take, on Linux. Default: 64 MiB and 20 bytes
    for each pixel of SFD_MAX_PIXELS. No effect with threads."""

    @model_validator(mode="after")
    def _default_model_is_served(self) -> Self:
        if self.default_model and self.models and self.default_model not in self.models:
            raise ValueError("SFD_DEFAULT_MODEL: must be one of SFD_MODELS")
        return self

    @property
    def served_models(self) -> tuple[str, ...]:
        """Names of the models to load, the default model first."""
        default = self.default_model or (self.models or (DEFAULT_MODEL,))[0]
        return default, *(name for name in dict.fromkeys(self.models) if name != default)

    @property
    def oversampling(self) -> int | None:
        """How many times as large as the network's input a reduced JPEG must be; None: full size.

        With 4, 99.12 % of the boxes keep an IoU of 0.98; with 2, 98.09 % (docs/sizing.md).
        """
        if self.reduced_decoding == "auto":
            return 4
        return 2 if self.reduced_decoding else None


Kind = TypeVar("Kind", bound=DetectionSettings)


def load(kind: type[Kind], **overrides: Any) -> Kind:
    """Read settings of a kind. StartError lists each wrong variable and what it accepts.

    `overrides` (by field name) win over the environment; those that are None are left out.
    """
    try:
        return kind(**{name: v for name, v in overrides.items() if v is not None})
    except ValidationError as error:
        raise StartError("; ".join(_mistakes(kind, error))) from None


def unknown_variables(kind: type[DetectionSettings]) -> list[str]:
    """Environment variables `SFD_*` that are not a setting: most likely misspelled."""
    known = {variable(name) for name in kind.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def suggestion(kind: type[DetectionSettings], name: str) -> str | None:
    """The setting that an unknown variable most likely means."""
    known = [variable(field) for field in kind.model_fields]
    return next(iter(difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)), None)


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def describe(kind: type[DetectionSettings]) -> list[tuple[str, str, str]]:
    """All settings of a kind as (variable, what it accepts with its default, docstring)."""
    docstrings = _docstrings(kind)
    return [
        (variable(name), f"{accepts(field)}{_default(field)}", docstrings.get(name, ""))
        for name, field in kind.model_fields.items()
    ]


def _docstrings(kind: type[DetectionSettings]) -> dict[str, str]:
    """The docstring of each setting, on one line, from the source of its class.

    Pydantic would read them when the class is made, which takes 0.09 s of each start.
    """
    found = {}
    for parent in kind.__mro__:
        if issubclass(parent, DetectionSettings):
            try:
                source = inspect.getsource(parent)
            except OSError:
                # This installation has no source files.
                continue
            [body] = ast.parse(source).body
            for setting, docstring in pairwise(cast(ast.ClassDef, body).body):
                match setting, docstring:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[name] = " ".join(text.split())
    return found


def accepts(field: FieldInfo) -> str:
    """The values that a field accepts, in a few words."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " | ".join(annotation)
    choices = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is Literal:
        return " | ".join(choices)
    for rules in (field.metadata, *(getattr(choice, "__metadata__", ()) for choice in choices)):
        for rule in rules:
            if isinstance(rule, Unit):
                return f"a number of {rule.name} {_bounds(rules)}, such as {rule.example}"
            if isinstance(rule, Listed):
                return f"{rule.name} separated by commas: {rule.form}"
    if annotation is bool:
        return "true | false"
    if bool in choices:
        return "auto | true | false"
    for kind, name in ((int, "a whole number"), (float, "a number")):
        if annotation in (kind, kind | None):
            return f"{name} {_bounds(field.metadata)}"
    if annotation is str:
        return "text"
    if Path in choices:
        return "a folder"
    if numbers := [each for each in choices if int in getattr(each, "__args__", (each,))]:
        rules = getattr(numbers[0], "__metadata__", ())
        return f"auto | a whole number {_bounds(rules)}"
    item = choices[0] if choices else str
    if getattr(item, "__origin__", None) is Literal:
        return f"any of {', '.join(get_args(item))}, separated by commas"
    if item is str:
        return "names separated by commas"
    return "keys of at least 8 printable ASCII characters, separated by commas"


def _bounds(rules: Iterable[object]) -> str:
    low = high = ""
    for rule in rules:
        match rule:
            case Ge(ge=value):
                low = f"from {value}"
            case Gt(gt=value):
                low = f"above {value}"
            case Le(le=value):
                high = f" to {value}" if low.startswith("from") else f" up to {value}"
    return low + high


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None or field.default in (None, (), ""):
        return ""
    if isinstance(field.default, bool):
        return f"; default {str(field.default).lower()}"
    return f"; default {field.default}"


def _mistakes(kind: type[DetectionSettings], error: ValidationError) -> list[str]:
    mistakes = {}
    for detail in error.errors(include_url=False, include_input=True):
        if not detail["loc"]:
            mistakes[detail["msg"]] = words(detail)
            continue
        name = str(detail["loc"][0])
        field = kind.model_fields[name]
        # A key must not end up in a log.
        secret = SecretStr in _leaves(field.annotation)
        shown = "" if secret else f", not {_shown(detail['input'])}"
        mistakes[name] = f"{variable(name)}: must be {accepts(field)}{shown}"
    return list(mistakes.values())


def _leaves(annotation: object) -> set[object]:
    parts = getattr(annotation, "__args__", ())
    origin = getattr(annotation, "__origin__", annotation)
    return {origin}.union(*map(_leaves, parts))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
