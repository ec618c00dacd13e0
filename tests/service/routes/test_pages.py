import re

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_everything_a_page_loads_comes_from_this_service(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"#]+)"', response.text)
    assert links
    for link in links:
        assert "//" not in link
        assert client.get(f"/{link}").status_code == 200, link
    assert "<script>" not in response.text, "the content security policy forbids inline scripts"


def test_the_page_may_run_only_its_own_scripts(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_the_reference_may_style_its_icons_but_run_no_script_of_others(client: TestClient) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "style-src 'self' 'unsafe-inline';" in policy
    assert "img-src 'self' data:;" in policy


@pytest.mark.parametrize("path", ["/", "/docs", "/models", "/nothing"])
def test_every_answer_restricts_the_browser_to_what_it_needs(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    expected = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=()",
    }
    assert {name: headers[name] for name in expected} == expected


def test_an_answer_of_the_api_may_not_run_scripts(client: TestClient) -> None:
    headers = client.get("/models").headers
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert client.get("/nothing").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/docs/assets/swagger-ui.css"])
@pytest.mark.parametrize("part", ["bytes=0-3", "bytes=abc", "bytes=5-1", "bytes=99999999-"])
def test_a_file_is_sent_whole_even_if_a_part_is_requested(
    client: TestClient, path: str, part: str
) -> None:
    whole = client.get(path)
    answer = client.get(path, headers={"Range": part})
    assert (answer.status_code, answer.content) == (200, whole.content)
    assert answer.headers["accept-ranges"] == "none"


@pytest.mark.parametrize("path", ["/", "/static/app.js"])
@pytest.mark.parametrize("weak", ["", "W/"])
def test_a_file_that_the_browser_has_is_not_sent_again(
    client: TestClient, path: str, weak: str
) -> None:
    """The browser asks each time, so that a page and its scripts have the same version."""
    sent = client.get(path)
    assert sent.headers["cache-control"] == "no-cache"
    tag = sent.headers["etag"]
    answer = client.get(path, headers={"If-None-Match": f'"other", {weak}{tag}'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "no-cache")
    assert "content-security-policy" in answer.headers
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == sent.content
