"""Every setting of the service: one model, read from environment variables `SFD_*`."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.cpu import available_cpus
from service.errors import StartError

PREFIX = "SFD_"
DEFAULT_MODEL = "sfd-640-mobilenetv2-mod2"


def _split(value: object) -> object:
    """`a, b` as a list; an empty variable as no items."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


# Plain commas in place of pydantic-settings' JSON: what people type into a compose file.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Key = Annotated[SecretStr, MinLen(8)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split)]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s]+)$")]
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """The settings of the service; each is the environment variable `SFD_` + its name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    model_store: Path | None = None
    """Folder of the model folders. Default: ./model_store, else the checkout's. An installed sfd
    also searches your data folder and the models that came with it."""

    models: Names = ()
    """Names of the models to serve, with commas between. Default: DEFAULT_MODEL alone."""

    default_model: str = ""
    """The model of a request that names none. Default: the first of MODELS."""

    provider: Annotated[
        Literal["auto", "cpu", "cuda", "tensorrt", "openvino"], BeforeValidator(_lower)
    ] = "auto"
    """What runs the models. auto: CUDA where it works, else the CPU. Any other must work, or the
    start stops."""

    threads: Annotated[int, Ge(1), Le(512)] = Field(default_factory=available_cpus)
    """Threads to infer with, of each model, and to decode. Default: CPUs this process may use."""

    workers: Annotated[int, Ge(1), Le(64)] = 1
    """Batches of one model that run at the same time; they share its inference threads."""

    max_batch: Annotated[int, Ge(1), Le(256)] = 8
    """Most images in one inference."""

    max_wait_ms: Annotated[float, Ge(0), Le(1000)] = 5.0
    """Longest that an image waits for others to fill its batch, in milliseconds."""

    queue_limit: Annotated[int, Ge(1), Le(100_000)] = 128
    """Most images accepted and not yet in inference; more are answered 503."""

    request_timeout_s: Annotated[float, Gt(0), Le(3600)] = 30.0
    """Deadline of a request from its arrival to its answer, in seconds, slow uploads included."""

    shutdown_grace_s: Annotated[float, Ge(0), Le(3600)] = 30.0
    """After SIGTERM, how long accepted requests may take to finish, in seconds."""

    max_bytes: Annotated[int, Ge(1), Le(2**31)] = 20 * 2**20
    """Largest request body, in bytes."""

    max_pixels: Annotated[int, Ge(1), Le(2**31)] = 50_000_000
    """Largest image, in pixels."""

    max_images: Annotated[int, Ge(1), Le(1024)] = 32
    """Most images in one request."""

    api_keys: Keys = ()
    """Keys of which every request to detect must carry one, with commas between. Default: open."""

    cors_origins: Origins = ()
    """Origins (https://example.org, or *) whose pages may call the service, with commas between."""

    log_format: Annotated[Literal["json", "console"], BeforeValidator(_lower)] = "json"
    """One JSON object a line, or lines for people."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = (
        "info"
    )
    """Least severe level that is logged; info logs a line for each request."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all."""

    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port to listen on; 0 lets the system choose."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.default_model and self.models and self.default_model not in self.models:
            raise ValueError("SFD_DEFAULT_MODEL: must be one of SFD_MODELS")
        if self.max_images > self.queue_limit:
            raise ValueError("SFD_MAX_IMAGES: must not be more than SFD_QUEUE_LIMIT")
        return self

    @property
    def served_models(self) -> tuple[str, ...]:
        """Names of the models to load; the default one first."""
        default = self.default_model or (self.models or (DEFAULT_MODEL,))[0]
        return default, *(name for name in dict.fromkeys(self.models) if name != default)


def load(**overrides: Any) -> Settings:
    """Read the settings; StartError lists each wrong variable and what it accepts.

    `overrides` (by field name) win over the environment; those that are None are left out.
    """
    try:
        return Settings(**{name: v for name, v in overrides.items() if v is not None})
    except ValidationError as error:
        raise StartError("; ".join(_problems(error))) from None


def unknown_variables() -> list[str]:
    """Variables named `SFD_*` that are no setting: most likely misspelt."""
    known = {variable(name) for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def variable(name: str) -> str:
    """The environment variable of a field."""
    return PREFIX + name.upper()


def describe() -> list[tuple[str, str, str]]:
    """All settings as (variable, what it accepts with its default, docstring)."""
    return [
        (
            variable(name),
            f"{accepts(field)}{_default(field)}",
            " ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    ]


def accepts(field: FieldInfo) -> str:
    """What values a field takes, in a few words."""
    annotation = field.annotation
    choices = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is Literal:
        return " | ".join(choices)
    for kind, words in ((int, "a whole number"), (float, "a number")):
        if annotation is kind:
            return f"{words} {_bounds(field)}"
    if annotation is str:
        return "text"
    if Path in choices:
        return "a folder"
    item = choices[0] if choices else str
    if item is str:
        return "names with commas between"
    return (
        "keys of at least 8 characters with commas between"
        if getattr(item, "__origin__", item) is SecretStr
        else "origins with commas between"
    )


def _bounds(field: FieldInfo) -> str:
    low = high = ""
    for rule in field.metadata:
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
    return f"; default {field.default}"


def _problems(error: ValidationError) -> list[str]:
    problems = {}
    for detail in error.errors(include_url=False, include_input=True):
        if not detail["loc"]:
            problems[detail["msg"]] = detail["msg"].removeprefix("Value error, ")
            continue
        name = str(detail["loc"][0])
        field = Settings.model_fields[name]
        # A key must not end up in a log.
        shown = "" if name == "api_keys" else f", not {_shown(detail['input'])}"
        problems[name] = f"{variable(name)}: must be {accepts(field)}{shown}"
    return list(problems.values())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
