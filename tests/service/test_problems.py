"""The answers to errors: RFC 9457's form, and the Open Inference Protocol's."""

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from detection.errors import InvalidImage, Overloaded, RequestError
from service import problems
from service.errors import InvalidParameter, MethodNotAllowed, NotFound, Unauthorized


@pytest.mark.parametrize("path", ["/detect", "/", "/v2ray", "/v20/models", "*", "host:443", ""])
def test_problem_json_has_the_id_of_its_request(path: str) -> None:
    answer = problems.response(InvalidImage("the file is empty"), "id-1", path)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(bytes(answer.body)) == {
        "type": "invalid-image",
        "title": "Invalid image",
        "status": 400,
        "detail": "the file is empty",
        "request_id": "id-1",
    }


@pytest.mark.parametrize("path", ["/v2", "/v2/models/cells/infer"])
def test_under_v2_an_error_has_the_form_of_the_protocol(path: str) -> None:
    answer = problems.response(Overloaded("full", retry_after_s=3), "id-1", path)
    assert json.loads(bytes(answer.body)) == {"error": "full"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Overloaded("full", retry_after_s=7), {"Retry-After": "7"}),
        (Unauthorized("no key"), {"WWW-Authenticate": 'Bearer realm="sfd"'}),
        (MethodNotAllowed("no", "GET, POST"), {"Allow": "GET, POST"}),
        (InvalidImage("empty"), {}),
    ],
)
def test_an_error_has_the_headers_that_its_status_requires(
    error: RequestError, expected: dict[str, str]
) -> None:
    assert problems.headers(error) == expected


def test_errors_of_the_framework_become_ours() -> None:
    wrong = problems.of_http(HTTPException(405, headers={"Allow": "POST"}), "/detect", "PUT")
    assert isinstance(wrong, MethodNotAllowed)
    assert (str(wrong), wrong.allow) == ("/detect takes POST, not PUT", "POST")
    missing = problems.of_http(HTTPException(404), "/" + "x" * 5000, "GET")
    assert isinstance(missing, NotFound)
    assert len(str(missing)) < 300
    other = problems.of_http(HTTPException(418, "a teapot"), "/", "GET")
    assert (type(other), str(other)) == (RequestError, "a teapot")


def complaint(*loc: str, kind: str = "value", msg: str = "is wrong") -> dict[str, object]:
    return {"loc": loc, "type": kind, "msg": msg}


def test_problems_name_the_parameter_without_its_place() -> None:
    error = RequestValidationError([complaint("query", "min_score"), complaint("query")])
    assert str(problems.of_validation(error)) == "min_score: is wrong; query: is wrong"


@pytest.mark.parametrize(
    ("complaints", "says"),
    [
        ([complaint("a"), complaint("b", "c")], "a: is wrong; b.c: is wrong"),
        ([complaint("x", kind="extra_forbidden")], "x: unknown parameter"),
        ([complaint("", kind="extra_forbidden")], "a parameter without a name: unknown parameter"),
        ([complaint("x" * 5000)], "x" * 100 + ": is wrong"),
        ([complaint(str(n)) for n in range(12)], "; ".join(f"{n}: is wrong" for n in range(10))),
    ],
)
def test_problems_fit_in_one_short_line(complaints: list[dict[str, object]], says: str) -> None:
    found = problems.of_errors(complaints)
    assert isinstance(found, InvalidParameter)
    assert str(found) == says
