"""The gRPC status of each error, and what comes with it."""

from collections.abc import Mapping

from grpc import StatusCode

from detection.errors import Overloaded, RequestError

CODES: Mapping[int, StatusCode] = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    406: StatusCode.INVALID_ARGUMENT,
    # gRPC's own, for a message that is longer than the limit.
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    424: StatusCode.FAILED_PRECONDITION,
    499: StatusCode.CANCELLED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
"""By the HTTP status of the error."""


def of(error: RequestError) -> StatusCode:
    """The status of an error."""
    return CODES[error.status]


def metadata(error: RequestError) -> tuple[tuple[str, str], ...]:
    """The trailing metadata of an error."""
    match error:
        case Overloaded():
            # The second is what gRPC's own retries read (gRFC A6).
            return (
                ("retry-after", str(error.retry_after_s)),
                ("grpc-retry-pushback-ms", str(1000 * error.retry_after_s)),
            )
    return ()
