"""Everything that can go wrong with a request, as exceptions that know their HTTP answer.

    body bytes -> images -> RGB arrays -> queue -> inference -> answer
        |           |          |            |          |
        |           |          |            |          InferenceFailed, Timeout
        |           |          |            Overloaded, Timeout
        |           |          InvalidImage, UnsupportedMediaType, TooManyPixels
        |           InvalidImage, InvalidParameter
        PayloadTooLarge, Timeout, Overloaded

`service.problems` renders them; routes never build an error body.
"""

from typing import ClassVar

from sfd.errors import SfdError


class Problem(SfdError):  # noqa: N818 (RFC 9457 calls it a problem)
    """A request that gets an error answer; its message is the `detail` for the client."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries beside its body."""
        return {}


class InvalidImage(Problem):
    """The bytes are no image, or a broken one."""

    status = 400
    slug = "invalid-image"
    title = "Invalid image"


class InvalidRequest(Problem):
    """An inference request (/v2) that does not follow its protocol."""

    status = 400
    slug = "invalid-request"
    title = "Invalid request"


class Unauthorized(Problem):
    """API keys are set and none matches."""

    status = 401
    slug = "unauthorized"
    title = "Unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 11.6.1: a 401 names the scheme that would do."""
        return {"WWW-Authenticate": 'Bearer realm="sfd"'}


class NotFound(Problem):
    """No such path."""

    status = 404
    slug = "not-found"
    title = "Not found"


class UnknownModel(Problem):
    """No such model in this process."""

    status = 404
    slug = "unknown-model"
    title = "Unknown model"


class MethodNotAllowed(Problem):
    """The path exists, for another method."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 15.5.6: a 405 says what is allowed."""
        return {"Allow": self.allow}


class NotAcceptable(Problem):
    """A rendered picture in a format that we do not write."""

    status = 406
    slug = "not-acceptable"
    title = "Not acceptable"


class PayloadTooLarge(Problem):
    """More bytes, or more images, than one request may bring."""

    status = 413
    slug = "payload-too-large"
    title = "Payload too large"


class TooManyPixels(Problem):
    """An image whose header states more pixels than we decode."""

    status = 413
    slug = "too-many-pixels"
    title = "Too many pixels"


class UnsupportedMediaType(Problem):
    """A kind of content that we do not read."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported media type"


class InvalidParameter(Problem):
    """A query parameter or JSON member that is unknown or out of its range."""

    status = 422
    slug = "invalid-parameter"
    title = "Invalid parameter"


class ClientGone(Problem):
    """The client disconnected: nobody reads the answer; nginx's 499 shows it in log and metric."""

    status = 499
    slug = "client-gone"
    title = "Client gone"


class InferenceFailed(Problem):
    """The model raised; the details are in the log."""


class Overloaded(Problem):
    """The queue or the memory for uploads is full, or the service warms up or drains."""

    status = 503
    slug = "overloaded"
    title = "Overloaded"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, in seconds."""
        return {"Retry-After": str(self.retry_after_s)}


class Timeout(Problem):
    """The deadline of the request passed."""

    status = 504
    slug = "timeout"
    title = "Timeout"


DOCUMENTED: tuple[type[Problem], ...] = (
    InvalidImage,
    InvalidRequest,
    Unauthorized,
    NotFound,
    UnknownModel,
    MethodNotAllowed,
    NotAcceptable,
    PayloadTooLarge,
    TooManyPixels,
    UnsupportedMediaType,
    InvalidParameter,
    InferenceFailed,
    Overloaded,
    Timeout,
)
"""What a client can see, by rising status."""


class StartError(SfdError):
    """The service cannot start as it is set up."""
