from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

KEYS = ("first-long-key", "second-long-key")


@pytest.fixture
def guarded(serve: Any) -> Iterator[TestClient]:
    with serve(api_keys=KEYS) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEYS[0]},
        {"X-API-Key": KEYS[1]},
        {"Authorization": f"Bearer {KEYS[1]}"},
        {"Authorization": f"Bearer {KEYS[1]}", "X-API-Key": ""},
        {"Authorization": f"bearer  {KEYS[1]}"},
    ],
)
def test_any_key_opens_in_either_header(
    guarded: TestClient, bright_cells: Callable[..., bytes], headers: dict[str, str]
) -> None:
    assert guarded.post("/detect", content=bright_cells(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "first-long-ke"},
        {"X-API-Key": "first-long-key,second-long-key"},
        {"Authorization": f"Basic {KEYS[0]}"},
        {"Authorization": KEYS[0]},
        {"X-API-Key": b"\xff\xfe"},
    ],
)
def test_without_a_key_nothing_is_detected(guarded: TestClient, headers: Any) -> None:
    response = guarded.post("/detect", content=b"x", headers=headers)
    assert response.status_code == 401
    assert response.json()["type"] == "unauthorized"
    assert "Bearer" in response.headers["www-authenticate"]


def test_a_refusal_is_counted_for_the_requested_route(guarded: TestClient) -> None:
    guarded.post("/detect", content=b"x")
    guarded.get("/models/cells")
    guarded.get("/no/such/path")
    counts = guarded.get("/metrics").text
    for route in ("/detect", "/models/{name}", "other"):
        assert f'sfd_requests_total{{route="{route}",status="401"}} 1.0' in counts


def test_models_need_a_key_too(guarded: TestClient) -> None:
    assert guarded.get("/models").status_code == 401
    assert guarded.get("/nothing").status_code == 401


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/", "/static/app.js", "/docs", "/openapi.json"]
)
def test_probes_scrapes_and_pages_need_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_without_keys_the_service_is_open(client: TestClient) -> None:
    assert client.get("/models").status_code == 200
