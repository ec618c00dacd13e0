from typing import Any

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
