"""The middleware of Ray's proxies, around a stand-in for what the proxy does."""

import importlib

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from service.cluster import refusals
from service.cluster.refusals import REPLICA, Refusals
from tests.servers import problem_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answer_of(app: ASGIApp, path: str = "/detect", **headers: str) -> httpx.Response:
    client = TestClient(Refusals(app))
    response: httpx.Response = client.post(path, headers=headers)  # type: ignore[assignment]
    return response


@pytest.mark.parametrize(
    ("status", "becomes", "kind"),
    [
        (503, 503, "overloaded"),
        (429, 503, "overloaded"),
        (404, 503, "overloaded"),
        (500, 503, "overloaded"),
        (408, 504, "timeout"),
    ],
)
def test_an_answer_of_ray_becomes_a_problem(status: int, becomes: int, kind: str) -> None:
    answer = answer_of(PlainTextResponse("Request dropped", status), **{"X-Request-ID": "mine"})
    assert problem_of(answer, becomes, kind)["request_id"] == "mine"
    assert ("Retry-After" in answer.headers) == (becomes == 503)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_answer_becomes_a_problem_that_may_be_repeated() -> None:
    async def dies(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    answer = answer_of(dies)
    assert "may be repeated" in problem_of(answer, 503, "overloaded")["detail"]
    assert answer.headers["Retry-After"] == "1"


def test_a_problem_has_the_shape_of_its_path() -> None:
    answer = answer_of(PlainTextResponse("x", 503), path="/v2/models/some/infer")
    assert (answer.status_code, set(answer.json())) == (503, {"error"})


def test_an_answer_of_a_replica_is_passed_on() -> None:
    mine = PlainTextResponse("mine", 503, {REPLICA: "abc", "Retry-After": "7"})
    answer = answer_of(mine)
    assert (answer.status_code, answer.text, answer.headers["Retry-After"]) == (503, "mine", "7")


def test_the_paths_of_ray_itself_are_passed_on() -> None:
    answer = answer_of(PlainTextResponse("no", 503), path="/-/healthz")
    assert (answer.status_code, answer.text) == (503, "no")


def test_the_id_of_a_request_is_that_of_its_trace_and_is_sent_once() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"])[b"x-request-id"])
        answer = PlainTextResponse("yes", headers={"X-Request-ID": "first"})
        answer.headers.append("X-Request-ID", "second")
        await answer(scope, receive, send)

    answer = answer_of(app, traceparent=TRACE)
    assert seen == [TRACE.split("-")[1].encode()]
    assert answer.headers.get_list("x-request-id") == [TRACE.split("-")[1]]


def test_the_variable_names_the_function() -> None:
    module, _, name = refusals.VALUE.rpartition(".")
    (one,) = getattr(importlib.import_module(module), name)()
    assert one.cls is Refusals
