from typing import Any

import pytest
from starlette.testclient import TestClient

ORIGIN = {"Origin": "https://app.example.org"}
PREFLIGHT = ORIGIN | {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-encoding,content-type,x-api-key",
}


def test_other_origins_are_refused_unless_set(client: TestClient) -> None:
    assert "access-control-allow-origin" not in client.get("/livez", headers=ORIGIN).headers
    assert client.options("/detect", headers=PREFLIGHT).status_code == 405


def test_a_set_origin_may_call_and_read_errors(serve: Any) -> None:
    with serve(cors_origins=("https://app.example.org",), api_keys=("a-long-key",)) as client:
        preflight = client.options("/detect", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        refused = client.post("/detect", headers=ORIGIN)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert "Server-Timing" in refused.headers["access-control-expose-headers"]
        other = client.get("/livez", headers={"Origin": "https://evil.example.org"})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("header", "value", "what"),
    [
        ("Origin", "https://evil.example.org", "origin"),
        ("Access-Control-Request-Method", "DELETE", "method"),
        ("Access-Control-Request-Headers", "x-other", "headers"),
    ],
)
def test_a_refused_preflight_is_a_problem(serve: Any, header: str, value: str, what: str) -> None:
    with serve(cors_origins=("https://app.example.org",), compat="deepstack") as client:
        refused = client.options("/detect", headers=PREFLIGHT | {header: value})
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json() == {
            "type": "preflight-refused",
            "title": "Preflight refused",
            "status": 400,
            "detail": f"not allowed for a page of another origin: {what}",
            "request_id": refused.headers["x-request-id"],
        }
        assert refused.headers["access-control-allow-methods"] == "GET, POST"
        assert ("access-control-allow-origin" in refused.headers) == (what != "origin")
        other = client.options("/v1/vision/face", headers=PREFLIGHT | {header: value})
        assert other.json()["success"] is False
        counts = client.get("/metrics").text
        assert 'sfd_rejected_total{reason="preflight-refused"} 2.0' in counts
