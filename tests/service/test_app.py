"""The app: its middleware, its shutdown, and the framework's own errors."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from detection.letterbox import Pixels
from detection.predictions import Predictions
from detection.session import Session
from service import runtime as runtimes
from service.app import create_app, middleware
from service.settings import Settings
from tests.servers import problem_of

Cells = Callable[..., bytes]
MakeSettings = Callable[..., Settings]


def test_the_middleware_is_in_the_right_order(settings: MakeSettings) -> None:
    """The id before all that logs; counts around errors; keys inside what answers errors."""
    runtime = runtimes.load(settings(cors_origins=("https://a.org",)))
    names = [each.cls.__name__ for each in middleware(runtime, None)]  # type: ignore[attr-defined]
    assert names == [
        "Targets", "RequestIds", "Closing", "Observations", "SecurityHeaders", "Cors",
        "Failures", "HeadRequests", "Slashes", "ApiKeys",
    ]  # fmt: skip


def test_accepted_requests_are_answered_at_shutdown(
    settings: MakeSettings, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app's shutdown begins while an image is in inference."""
    runtime = runtimes.load(settings())
    run = Session.run
    with TestClient(create_app(runtime)) as client, ThreadPoolExecutor(1) as pool:
        assert client.portal is not None
        client.portal.call(runtime.warm_up)

        def slow(self: Session, images: Sequence[Pixels]) -> list[Predictions]:
            client.portal.start_task_soon(runtime.close)  # type: ignore[union-attr]
            latest = time.monotonic() + 20
            while not runtime.draining:
                assert time.monotonic() < latest
                time.sleep(0.01)
            return run(self, images)

        monkeypatch.setattr(Session, "run", slow)
        asked = pool.submit(client.post, "/detect", content=bright_cells(3))
        answer = asked.result(20)
        assert answer.status_code == 200
        assert len(answer.json()["faces"]) == 1
        assert client.post("/detect", content=bright_cells(3)).status_code == 503


def test_shutting_down_the_app_ends_the_threads(settings: MakeSettings) -> None:
    runtime = runtimes.load(settings())
    with TestClient(create_app(runtime)):
        assert not runtime.draining
    assert runtime.draining
    for executor in (runtime.default.inferring, runtime.default.decoding):
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(int)


def test_before_the_warm_up_the_app_is_alive_but_not_ready(
    settings: MakeSettings, bright_cells: Cells
) -> None:
    with TestClient(create_app(runtimes.load(settings()))) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        answer = client.post("/detect", content=bright_cells(1))
        assert problem_of(answer, 503, "overloaded")["detail"] == "the service is warming up"


# --- errors of the framework


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/detect", 405, "method-not-allowed"),
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/models/none", 404, "unknown-model"),
        ("GET", "/static/none.js", 404, "not-found"),
        ("GET", "/static/../app.py", 404, "not-found"),
        ("POST", "/livez", 405, "method-not-allowed"),
    ],
)
def test_the_frameworks_own_errors_are_problem_json_too(
    client: TestClient, method: str, path: str, status: int, kind: str
) -> None:
    response = client.request(method, path)
    problem_of(response, status, kind)
    if status == 405:
        assert response.headers["allow"]
