"""HEAD wherever GET is."""

from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

PATHS = ["/", "/livez", "/readyz", "/metrics", "/models", "/models/cells", "/docs",
         "/openapi.json", "/v2", "/v2/health/live", "/static/app.js"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_without_the_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, get.status_code) == (200, 200)
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_of_a_post_route_is_a_405(client: TestClient) -> None:
    answer = client.head("/detect")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.head("/nothing").status_code == 404


def test_a_405_allows_head_where_it_allows_get(client: TestClient) -> None:
    answer = client.delete("/livez")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["detail"] == "/livez takes GET, HEAD, not DELETE"


def test_a_connection_stays_usable_after_head(start_server: Any) -> None:
    with start_server() as server, httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            assert client.head("/").status_code == 200
            assert client.get("/livez").json() == {"status": "alive"}
        client.head("/detect")
        log = server.complete_log()
    assert '"method": "HEAD"' in log
    assert "/detect takes POST, not HEAD" in log
