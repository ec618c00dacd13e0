"""Each answer says what a browser may do with it."""

import asyncio

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from service.middleware.security_headers import DOCS, NOTHING, PAGE, SecurityHeaders, policy


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", PAGE),
        ("/static/app.js", PAGE),
        ("/docs", DOCS),
        ("/docs/start.js", DOCS),
        ("/detect", NOTHING),
        ("/openapi.json", NOTHING),
        ("/staticx", NOTHING),
        ("/docsx", NOTHING),
        ("/nothing", NOTHING),
    ],
)
def test_only_pages_may_load_or_run_anything(client: TestClient, path: str, expected: str) -> None:
    assert policy(path) == expected
    assert client.get(path).headers["content-security-policy"] == expected


def test_every_policy_lets_a_page_run_only_our_scripts() -> None:
    for each in (PAGE, DOCS, NOTHING):
        assert each.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in each
        scripts = [part for part in each.split("; ") if part.startswith("script-src")]
        assert scripts in ([], ["script-src 'self'"])


@pytest.mark.parametrize("path", ["/", "/livez", "/nothing"])
def test_the_other_headers_are_on_every_answer(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "microphone=()" in headers["permissions-policy"]


def test_a_header_that_the_answer_has_is_kept() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        own = [(b"referrer-policy", b"origin")]
        await send({"type": "http.response.start", "status": 200, "headers": own})

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    asyncio.run(SecurityHeaders(app)({"type": "http", "path": "/"}, receive, send))
    headers = dict(sent[0]["headers"])
    assert headers[b"referrer-policy"] == b"origin"
    assert headers[b"x-content-type-options"] == b"nosniff"
