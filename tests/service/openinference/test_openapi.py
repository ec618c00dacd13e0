"""How the protocol's errors and requests are described in the OpenAPI document."""

from detection.errors import InvalidImage, Overloaded
from service.errors import InvalidRequest
from service.openapi import DETAILS, responses
from service.openinference.openapi import infer_request
from service.problems import INFERENCE


def test_errors_are_grouped_by_status_with_an_example_each() -> None:
    described = responses(InvalidImage, InvalidRequest, Overloaded, shape=INFERENCE)
    assert set(described) == {400, 503}
    content = described[400]["content"]
    assert set(content) == {"application/json"}, "the protocol's own form, not a problem"
    assert content["application/json"]["examples"] == {
        "invalid-image": {"value": {"error": DETAILS["invalid-image"]}},
        "invalid-request": {"value": {"error": DETAILS["invalid-request"]}},
    }


def test_a_request_names_the_header_that_ends_its_json() -> None:
    described = infer_request("X-Length")
    (parameter,) = described["parameters"]
    assert (parameter["name"], parameter["in"]) == ("X-Length", "header")
    assert not parameter.get("required")
    content = described["requestBody"]["content"]
    assert set(content) == {"application/json", "application/octet-stream"}
