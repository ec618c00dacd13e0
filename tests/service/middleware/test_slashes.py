"""A slash at the end of a path changes nothing."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient


def test_detect_works_with_a_slash_at_the_end(
    client: TestClient, bright_cells: Callable[..., bytes]
) -> None:
    answer = client.post("/detect/", content=bright_cells(1))
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 1


@pytest.mark.parametrize("path", ["/livez/", "/models/", "/models/cells/", "/v2/"])
def test_every_other_endpoint_works_with_a_slash_at_the_end(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_page_of_the_api_is_one_redirect_away(client: TestClient) -> None:
    answer = client.get("/docs/")
    assert [each.headers["Location"] for each in answer.history] == ["../docs"]
    assert answer.url.path == "/docs"
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/static/", "/nothing/"])
def test_folders_and_unknown_paths_are_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/metrics/", "/metrics//", "/metrics/targets/", "/metrics%2F"])
def test_the_metrics_have_one_path_so_that_a_proxy_can_hide_it(
    client: TestClient, path: str
) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get(path).status_code == 404
