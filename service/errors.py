"""The errors of an HTTP request outside detection, as exceptions.

    body bytes -> image files -> detection -> answer
        |             |              |          |
        |             |              |          NotAcceptable
        |             |              `detection.errors`
        |             InvalidImage, InvalidParameter
        PayloadTooLarge, Timeout, Overloaded

`service.problems` renders them; routes never build an error body.
"""

from collections.abc import Mapping

from detection.errors import (
    InferenceFailed,
    InvalidImage,
    OutOfMemory,
    Overloaded,
    RequestError,
    Timeout,
    TooExpensive,
    TooManyPixels,
    UnsupportedMediaType,
)


class InvalidRequest(RequestError):
    """An inference request (/v2) that does not follow the protocol."""

    status = 400
    slug = "invalid-request"
    title = "Invalid request"


class PreflightRefused(RequestError):
    """The page's origin is not in SFD_CORS_ORIGINS, or no page may send this request."""

    status = 400
    slug = "preflight-refused"
    title = "Preflight refused"

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.headers = headers


class Unauthorized(RequestError):
    """API keys are set and none matches."""

    status = 401
    slug = "unauthorized"
    title = "Unauthorized"


class HostNotAllowed(RequestError):
    """An image's URL whose host is not in SFD_FETCH_HOSTS, or has an address that is not public."""

    status = 403
    slug = "host-not-allowed"
    title = "Host not allowed"


class NotFound(RequestError):
    """The path does not exist."""

    status = 404
    slug = "not-found"
    title = "Not found"


class UnknownModel(RequestError):
    """The process has no such model."""

    status = 404
    slug = "unknown-model"
    title = "Unknown model"


class MethodNotAllowed(RequestError):
    """The path exists, but not for this method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow


class NotAcceptable(RequestError):
    """The client accepts none of the available formats."""

    status = 406
    slug = "not-acceptable"
    title = "Not acceptable"


class PayloadTooLarge(RequestError):
    """The request has too many bytes or too many images."""

    status = 413
    slug = "payload-too-large"
    title = "Payload too large"


class InvalidParameter(RequestError):
    """A parameter that is unknown or has a value that is not allowed."""

    status = 422
    slug = "invalid-parameter"
    title = "Invalid parameter"


class FetchFailed(RequestError):
    """The server of an image's URL sent no image file."""

    # Not 502, which would count as a failure of this service and make proxies retry.
    status = 424
    slug = "fetch-failed"
    title = "Fetch failed"


class NotSupported(RequestError):
    """A call of another product's API for a feature that this service lacks."""

    status = 501
    slug = "not-supported"
    title = "Not supported"


class ClientGone(RequestError):
    """The client disconnected and reads no answer; log and metric show it as nginx's status 499."""

    status = 499
    slug = "client-gone"
    title = "Client gone"


DOCUMENTED: tuple[type[RequestError], ...] = (
    InvalidImage,
    InvalidRequest,
    PreflightRefused,
    Unauthorized,
    HostNotAllowed,
    NotFound,
    UnknownModel,
    MethodNotAllowed,
    NotAcceptable,
    PayloadTooLarge,
    TooManyPixels,
    UnsupportedMediaType,
    TooExpensive,
    InvalidParameter,
    FetchFailed,
    InferenceFailed,
    NotSupported,
    Overloaded,
    OutOfMemory,
    Timeout,
)
"""The errors that a client can see, by status."""

DETECTION: tuple[type[RequestError], ...] = (
    InvalidImage,
    Unauthorized,
    PayloadTooLarge,
    TooManyPixels,
    UnsupportedMediaType,
    TooExpensive,
    InferenceFailed,
    Overloaded,
    OutOfMemory,
    Timeout,
)
"""The errors of every request that asks for a detection, in whatever protocol."""
