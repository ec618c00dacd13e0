import pytest
from grpc import StatusCode

from detection.errors import InvalidImage, Overloaded, RequestError, Timeout
from service.errors import DOCUMENTED, ClientGone, PayloadTooLarge, Unauthorized, UnknownModel
from service.rpc import statuses


@pytest.mark.parametrize("kind", [*DOCUMENTED, ClientGone, RequestError])
def test_every_error_has_a_status(kind: type[RequestError]) -> None:
    assert statuses.CODES[kind.status] not in (StatusCode.OK, StatusCode.UNKNOWN)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidImage(""), StatusCode.INVALID_ARGUMENT),
        (Unauthorized(""), StatusCode.UNAUTHENTICATED),
        (UnknownModel(""), StatusCode.NOT_FOUND),
        (PayloadTooLarge(""), StatusCode.RESOURCE_EXHAUSTED),
        (RequestError(""), StatusCode.INTERNAL),
        (Overloaded(""), StatusCode.UNAVAILABLE),
        (Timeout(""), StatusCode.DEADLINE_EXCEEDED),
    ],
)
def test_an_error_has_the_status_that_its_clients_expect(
    error: RequestError, code: StatusCode
) -> None:
    assert statuses.of(error) is code


def test_only_an_overload_says_when_to_come_back() -> None:
    assert dict(statuses.metadata(Overloaded("", retry_after_s=7))) == {
        "retry-after": "7",
        "grpc-retry-pushback-ms": "7000",
    }
    assert statuses.metadata(Timeout("")) == ()
