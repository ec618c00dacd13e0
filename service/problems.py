"""Makes the answers to failed requests: RFC 9457 `application/problem+json`.

Clients of other protocols read only their own errors, so some paths have another form.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from detection.errors import OutOfMemory, Overloaded, RequestError
from service.errors import (
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    PreflightRefused,
    Unauthorized,
)
from sfd.validation import words

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def body(error: RequestError, request_id: str) -> dict[str, str | int]:
    """The members of a problem."""
    return {**error.as_dict(), "request_id": request_id}


WORDS = {"extra_forbidden": "unknown parameter", "bool_parsing": "must be true or false"}
"""Our words for some of Pydantic's types of errors."""


def headers(error: RequestError) -> dict[str, str]:
    """The headers of a problem's answer."""
    match error:
        case Overloaded():
            return {"Retry-After": str(error.retry_after_s)}
        case Unauthorized():
            # RFC 9110, section 11.6.1: a 401 names the accepted scheme.
            return {"WWW-Authenticate": 'Bearer realm="sfd"'}
        case MethodNotAllowed():
            # RFC 9110, section 15.5.6: a 405 says what is allowed.
            return {"Allow": error.allow}
        case PreflightRefused():
            return dict(error.headers)
    return {}


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of the errors under a path."""

    path: str
    body: Callable[[RequestError, str], Mapping[str, Any]]
    """From the error and the id of the request."""
    schema: str
    """The body's name in the OpenAPI document."""
    media_type: str = "application/json"
    statuses: Mapping[int, int] = field(default_factory=dict)
    """The status that replaces one that the clients don't know."""

    def covers(self, path: str) -> bool:
        """Whether a path is this one or below it."""
        return path == self.path or path.startswith(f"{self.path}/")

    def status(self, error: RequestError | type[RequestError]) -> int:
        """The HTTP status of an error."""
        return self.statuses.get(error.status, error.status)


PROBLEM = Shape("", body, "Problem", MEDIA_TYPE)
INFERENCE = Shape("/v2", lambda error, _: {"error": str(error)}, "InferenceError")
"""Of the Open Inference Protocol."""
SHAPES = (INFERENCE, PROBLEM)
"""Of each path the first that covers it. PROBLEM is also the form for a target that is no path,
such as `*`."""


def response(
    error: RequestError, request_id: str, path: str, shapes: Sequence[Shape] = SHAPES
) -> JSONResponse:
    """The answer to a request that failed, in the shape of its path."""
    shape = next((each for each in shapes if each.covers(path)), PROBLEM)
    return JSONResponse(
        shape.body(error, request_id),
        shape.status(error),
        headers(error),
        media_type=shape.media_type,
    )


def of_exception(error: Exception | asyncio.CancelledError) -> RequestError:
    """What a client is told of an exception. The log gets one that is not a RequestError."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, asyncio.CancelledError):
        # The server cancels requests that outlast the grace time; the client can ask another
        # replica.
        return Overloaded("the service was shut down before the request was done")
    if isinstance(error, MemoryError):
        log.error("out of memory")
        return OutOfMemory("too little memory is left for this request; try again later")
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return RequestError("internal error; look for the request id in the service's log")


def of_http(error: HTTPException, path: str, method: str) -> RequestError:
    """The framework's own 404 and 405 as problems."""
    if error.status_code == 405:
        methods = (error.headers or {}).get("Allow", "").split(", ")
        if "GET" in methods and "HEAD" not in methods:
            # `HeadRequests` answers it.
            methods.append("HEAD")
        allow = ", ".join(methods)
        return MethodNotAllowed(
            f"{path[:200]} takes {allow or 'another method'}, not {method}", allow
        )
    if error.status_code == 404:
        return NotFound(f"no {path[:200]} here; /docs shows what there is")
    return RequestError(error.detail)


def of_validation(error: RequestValidationError) -> InvalidParameter:
    """The framework's errors about parameters, all in one line."""
    return of_errors([{**each, "loc": each["loc"][1:] or each["loc"]} for each in error.errors()])


def of_errors(errors: Iterable[Mapping[str, Any]]) -> InvalidParameter:
    """Pydantic's errors about parameters, all in one line."""
    listed = []
    for each in errors:
        name = ".".join(map(str, each["loc"])) or "a parameter without a name"
        text = WORDS.get(each["type"], words(each))
        listed.append(f"{name[:100]}: {text}")
    return InvalidParameter("; ".join(listed[:10]))
