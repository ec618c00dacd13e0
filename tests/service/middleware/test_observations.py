"""Each request is counted and logged once, under its route's template."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

Fields = dict[str, Any]


@pytest.fixture
def fields(caplog: pytest.LogCaptureFixture) -> Iterator[list[Fields]]:
    """The fields of the access log, filled as requests are answered."""
    found: list[Fields] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append({"level": record.levelname, **record.fields})  # type: ignore[attr-defined]

    logger, handler = logging.getLogger("service.access"), Keep()
    caplog.set_level(logging.DEBUG, logger.name)
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def value(client: TestClient, name: str, **labels: str) -> float | None:
    registry = client.app.state.runtime.metrics.registry  # type: ignore[attr-defined]
    found: float | None = registry.get_sample_value(name, labels)
    return found


def test_a_request_is_counted_and_logged_with_its_route(
    client: TestClient, fields: list[Fields]
) -> None:
    client.get("/models/cells")
    client.get("/models/nobody")
    for status in ("200", "404"):
        assert value(client, "sfd_requests_total", route="/models/{name}", status=status) == 1
    assert value(client, "sfd_request_seconds_count", route="/models/{name}") == 2
    first, second = fields
    assert first["duration_ms"] > 0
    assert {name: first[name] for name in ("method", "path", "route", "status", "client")} == {
        "method": "GET",
        "path": "/models/cells",
        "route": "/models/{name}",
        "status": 200,
        "client": "",  # it has no address
    }
    assert (second["status"], second["problem"]) == (404, "unknown-model")


def test_probes_are_logged_for_debugging_only_unless_they_fail(
    client: TestClient, fields: list[Fields]
) -> None:
    client.get("/readyz")
    client.app.state.runtime.ready = False  # type: ignore[attr-defined]
    client.get("/readyz")
    client.get("/models")
    assert [each["level"] for each in fields] == ["DEBUG", "INFO", "INFO"]


def test_nothing_is_in_flight_when_all_requests_are_answered(client: TestClient) -> None:
    client.get("/models")
    client.post("/detect", content=b"no image")
    assert value(client, "sfd_in_flight") == 0


def test_unknown_paths_share_one_label(client: TestClient) -> None:
    for path in ("/a", "/b", "/wp-login.php"):
        client.get(path)
    client.get("/models/cells")
    registry = client.app.state.runtime.metrics.registry  # type: ignore[attr-defined]
    routes = {
        sample.labels["route"]
        for family in registry.collect()
        for sample in family.samples
        if "route" in sample.labels
    }
    assert routes == {"other", "/models/{name}"}
    assert value(client, "sfd_requests_total", route="other", status="404") == 3
