import pytest
from starlette.testclient import TestClient

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-ID": "abc-1.2_3"}, "abc-1.2_3"),
        ({"traceparent": TRACE}, "4bf92f3577b34da6a3ce929d0e0e4736"),
        ({"X-Request-ID": "mine", "traceparent": TRACE}, "mine"),
    ],
)
def test_the_id_of_the_client_is_used(
    client: TestClient, headers: dict[str, str], expected: str
) -> None:
    assert client.get("/livez", headers=headers).headers["x-request-id"] == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Request-ID": ""},
        {"X-Request-ID": "a b"},
        {"X-Request-ID": "x" * 129},
        {"X-Request-ID": '"}{"'},
        {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"},
        {"traceparent": "nonsense"},
    ],
)
def test_an_id_is_generated_if_the_client_sends_no_valid_one(
    client: TestClient, headers: dict[str, str]
) -> None:
    one = client.get("/livez", headers=headers).headers["x-request-id"]
    other = client.get("/livez", headers=headers).headers["x-request-id"]
    assert len(one) == 32
    assert one != other


def test_an_error_has_its_id_in_header_and_body(client: TestClient) -> None:
    response = client.get("/nothing", headers={"X-Request-ID": "mine"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "mine"
