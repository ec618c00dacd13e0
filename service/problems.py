"""Makes the answers to failed requests: RFC 9457 `application/problem+json`."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from detection.errors import Overloaded, RequestError
from service.errors import InvalidParameter, MethodNotAllowed, NotFound, Unauthorized

MEDIA_TYPE = "application/problem+json"


def body(error: RequestError, request_id: str) -> dict[str, str | int]:
    """The members of a problem."""
    return {**error.as_dict(), "request_id": request_id}


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
    return {}


def response(error: RequestError, request_id: str, path: str) -> JSONResponse:
    """The answer to a request that failed.

    Under /v2 it is the Open Inference Protocol's `{"error": …}`: its clients know no other format.
    """
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": str(error)}, error.status, headers(error))
    return JSONResponse(
        body(error, request_id), error.status, headers(error), media_type=MEDIA_TYPE
    )


def of_http(error: HTTPException, path: str, method: str) -> RequestError:
    """The framework's own 404 and 405 as problems."""
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{path} takes {allow or 'another method'}, not {method}", allow)
    if error.status_code == 404:
        return NotFound(f"no {path[:200]} here; /docs shows what there is")
    return RequestError(error.detail)


def of_validation(error: RequestValidationError) -> InvalidParameter:
    """The framework's complaints about parameters, all in one line."""
    return of_errors([{**each, "loc": each["loc"][1:] or each["loc"]} for each in error.errors()])


def of_errors(errors: Iterable[Mapping[str, Any]]) -> InvalidParameter:
    """Pydantic's complaints about parameters, all in one line."""
    listed = []
    for each in errors:
        name = ".".join(map(str, each["loc"]))
        words = "unknown parameter" if each["type"] == "extra_forbidden" else each["msg"]
        listed.append(f"{name[:100]}: {words}")
    return InvalidParameter("; ".join(listed[:10]))
