"""Every setting of the service: one model, read from environment variables `SFD_*`."""

import sys
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import NoDecode

from detection import settings
from detection.settings import Bytes, DetectionSettings, Listed, lower, split, split_lower
from service.fetching.urls import ALLOWED_HOST, ORIGIN

HANG_S = 5.0
"""How long a running batch may take after `shutdown_grace_s`; threads cannot be stopped."""


def split_keys(value: object) -> object:
    """`a, b` as a list. ValueError for text without a key: the service would be open to all."""
    keys = split(value)
    if value and not keys:
        raise ValueError("no key")
    return keys


def printable(key: SecretStr) -> SecretStr:
    """Keys that a header can carry: HTTP clients encode other characters in different ways."""
    text = key.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("not printable ASCII")
    return key


def as_browsers_send(origin: str) -> str:
    """An origin without its scheme's own port, which browsers leave out."""
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


Key = Annotated[SecretStr, MinLen(8), AfterValidator(printable)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(split_keys)]
Compat = Literal["deepstack", "compreface"]
Compats = Annotated[tuple[Compat, ...], NoDecode, BeforeValidator(split_lower)]
FetchHost = Annotated[str, StringConstraints(pattern=ALLOWED_HOST)]
FetchHosts = Annotated[
    tuple[FetchHost, ...],
    NoDecode,
    BeforeValidator(split_lower),
    Listed("host names", "HOST, HOST:PORT, *.HOST or *.HOST:PORT"),
]
Origin = Annotated[
    str, StringConstraints(pattern=rf"^(?:\*|{ORIGIN})$"), AfterValidator(as_browsers_send)
]
Origins = Annotated[
    tuple[Origin, ...],
    NoDecode,
    BeforeValidator(split_lower),
    Listed("origins", "SCHEME://HOST or SCHEME://HOST:PORT without a path, or *"),
]


class Settings(DetectionSettings):
    """The settings of the service: those of detection, and those of HTTP."""

    request_timeout_s: Annotated[float, Gt(0), Le(3600)] = 30.0
    """Deadline of a request from its arrival to its answer, in seconds, slow uploads included."""

    target_wait_s: Annotated[float, Gt(0), Le(3600)] = 2.0
    """The longest predicted wait for inference, in seconds. An image that would wait longer is
    answered 503 and not queued. From then on the limit is 40 % of it, until the overload is over
    (docs/sizing.md)."""

    shutdown_grace_s: Annotated[float, Ge(0), Le(3600)] = 30.0
    """How long accepted requests may take to finish after SIGTERM, in seconds; over HTTP rounded up
    to whole seconds, at least 1."""

    max_bytes: Bytes = 20 * 2**20
    """Largest request body, in bytes."""

    max_images: Annotated[int, Ge(1), Le(1024)] = 32
    """Most images in one request; at most SFD_QUEUE_LIMIT, and if not set, lowered to it."""

    api_keys: Keys = ()
    """API keys, separated by commas. If any are set, every request must carry one, except to the
    health checks, /metrics, /, /docs and /openapi.json.
    Default: open."""

    cors_origins: Origins = ()
    """Origins whose pages may call the service, such as https://example.org; * means all.
    Default: none."""

    compat: Compats = ()
    """Other products' APIs to offer too, separated by commas: deepstack for POST /v1/vision/face,
    compreface for POST /api/v1/detection/detect. Default: none."""

    fetch_hosts: FetchHosts = ()
    """Hosts from which {"url": …} may fetch images, separated by commas: HOST for ports 80 and 443,
    HOST:PORT, or *.HOST for all hosts below. Default: no URL is fetched."""

    fetch_private: bool = False
    """Also fetch from loopback and private addresses. Anyone who can reach the service then
    reaches those hosts of SFD_FETCH_HOSTS through it."""

    log_format: Annotated[Literal["json", "console"], BeforeValidator(lower)] = Field(
        default_factory=lambda: "console" if sys.stderr.isatty() else "json"
    )
    """json: one JSON object per line. console: lines for people. Default: console if stderr is a
    terminal, otherwise json."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = (
        "info"
    )
    """The lowest level to log; info logs a line for each request."""

    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 means all of IPv4, and :: all of IPv6 too."""

    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """The port to listen on; 0 lets the system choose."""

    grpc_port: Annotated[int | None, Ge(0), Le(65535)] = None
    """The port for the Open Inference Protocol over gRPC; 0 lets the system choose. Needs the
    extra grpc. Default: no gRPC."""

    @model_validator(mode="after")
    def _a_request_fits_the_queue(self) -> Self:
        if "max_images" not in self.model_fields_set:
            # Settings are frozen, and this is not one that somebody set.
            self.__dict__["max_images"] = min(self.max_images, self.queue_limit)
        if self.max_images > self.queue_limit:
            raise ValueError(
                f"SFD_MAX_IMAGES: must not be more than SFD_QUEUE_LIMIT, which is "
                f"{self.queue_limit}"
            )
        return self

    @model_validator(mode="after")
    def _grpc_has_a_port_of_its_own(self) -> Self:
        if self.grpc_port and self.grpc_port == self.port:
            raise ValueError("SFD_GRPC_PORT: must not be SFD_PORT")
        return self


def load(**overrides: Any) -> Settings:
    """Read the settings. StartError lists each wrong variable and what it accepts."""
    return settings.load(Settings, **overrides)


def describe() -> list[tuple[str, str, str]]:
    """All settings as (variable, what it accepts with its default, docstring)."""
    return settings.describe(Settings)


def unknown_variables() -> list[str]:
    """Environment variables `SFD_*` that are not a setting: most likely misspelled."""
    return settings.unknown_variables(Settings)


def not_a_setting(name: str) -> str:
    """What to say about an unknown variable."""
    meant = settings.suggestion(Settings, name)
    hint = f"; did you mean {meant}?" if meant else "; `sfd serve --help` lists all"
    return f"{name} is not a setting{hint}"


def variable(name: str) -> str:
    """The environment variable of a field."""
    return settings.variable(name)
