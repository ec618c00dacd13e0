"""The errors of a detection request, as exceptions with an error type and an HTTP status.

file bytes -> RGB arrays -> queue -> inference -> faces
|                        |          |
|                        |          InferenceFailed, Timeout
|                        Overloaded, Timeout
InvalidImage, UnsupportedMediaType, TooManyPixels, TooExpensive, OutOfMemory
"""

from typing import ClassVar

from sfd.errors import SfdError


class RequestError(SfdError):
    """A request fails; the message is for its client.

    `slug` names the kind of error: it is the `type` of a problem answer, the `reason` of a metric,
    and the `type` in the output of `sfd detect --json`. `status` is the HTTP status that fits.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def as_dict(self) -> dict[str, str | int]:
        """The members of a problem (RFC 9457), without those that the server adds."""
        return {
            "type": self.slug,
            "title": self.title,
            "status": self.status,
            "detail": str(self),
        }


class InvalidImage(RequestError):
    """The file is not an image, or it is broken."""

    status = 400
    slug = "invalid-image"
    title = "Invalid image"


class TooManyPixels(RequestError):
    """The image has more pixels than the limit, in all or on a side, according to its header."""

    status = 413
    slug = "too-many-pixels"
    title = "Too many pixels"


class TooExpensive(RequestError):
    """Decoding or drawing the image takes more CPU time or memory than one image may use."""

    status = 422
    slug = "too-expensive"
    title = "Too expensive"


class UnsupportedMediaType(RequestError):
    """The file has a format that is not supported."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported media type"


class InferenceFailed(RequestError):
    """The model failed, or the service has a bug; the details are in the log."""


class Overloaded(RequestError):
    """The queue is full, the wait is too long, or the service is starting or shutting down."""

    status = 503
    slug = "overloaded"
    title = "Overloaded"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class OutOfMemory(Overloaded):
    """The server has too little memory for this image at the moment."""

    slug = "out-of-memory"
    title = "Out of memory"


class Timeout(RequestError):
    """The deadline of the request passed."""

    status = 504
    slug = "timeout"
    title = "Timeout"


class StartError(SfdError):
    """A detector or a service cannot start with these settings."""
