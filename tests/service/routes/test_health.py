import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from detection.decoding import places
from detection.decoding.job import Job
from tests.servers import Serve


def samples(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_livez_says_that_the_process_is_alive(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}


def test_readiness_follows_the_warm_up_and_the_draining(client: TestClient) -> None:
    runtime = client.app.state.runtime  # type: ignore[attr-defined]
    assert client.get("/readyz").json() == {"status": "ready"}
    runtime.ready = False
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "warming up"})
    runtime.ready = True
    runtime.start_draining()
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "draining"})


@pytest.fixture
def with_processes(serve: Serve) -> Iterator[TestClient]:
    """A warm service in this process that decodes in other processes."""
    with serve(decoding="processes") as started:
        yield started


def test_a_service_whose_decoders_make_no_progress_is_not_ready(
    with_processes: TestClient, bright_cells: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = with_processes
    monkeypatch.setattr(places, "STALL_S", 0.1)
    taken = client.app.state.runtime.pools.decoder._places  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as threads:
        with ExitStack() as stack:
            for _ in range(taken.width):
                stack.enter_context(taken.take(Job()))
            waiting = threads.submit(client.post, "/detect", content=bright_cells(1))
            latest = time.monotonic() + 20
            while client.get("/readyz").json() != {"status": "stalled"}:
                assert time.monotonic() < latest
            for path in ("/readyz", "/v2/health/ready", "/v2/models/cells/ready"):
                assert client.get(path).status_code == 503
            assert client.get("/livez").status_code == 200
            assert samples(client)["sfd_model_ready", (("model", "cells"),)] == 0
        assert waiting.result(20).status_code == 200
    assert client.get("/readyz").json() == {"status": "ready"}


def test_what_the_decoders_use_is_measured(
    with_processes: TestClient, bright_cells: Callable[..., bytes]
) -> None:
    client = with_processes
    client.post("/detect", content=bright_cells(1))
    found = samples(client)
    assert found["sfd_decoders_memory_bytes", ()] > 2**20
    assert found["sfd_decoders_cpu_seconds", ()] > 0
    assert found["sfd_decoders_stopped_total", (("reason", "cpu"),)] == 0


def test_an_invalid_version_of_the_text_format_is_accepted(client: TestClient) -> None:
    for accept in ("text/plain; version=x", "application/openmetrics-text; version=", ";;q=;"):
        answer = client.get("/metrics", headers={"Accept": accept})
        assert answer.status_code == 200
        assert "sfd_in_flight" in answer.text


def test_every_metric_of_the_design_is_there(
    client: TestClient, bright_cells: Callable[..., bytes]
) -> None:
    client.post("/detect", content=bright_cells(1, 2))
    client.post("/detect", content=b"%PDF-")
    found = samples(client)
    route = ("route", "/detect")
    assert found["sfd_requests_total", (route, ("status", "200"))] == 1
    assert found["sfd_requests_total", (route, ("status", "415"))] == 1
    assert found["sfd_request_seconds_count", (route,)] == 2
    for stage in ("decode", "preprocess", "queue", "inference", "postprocess", "total"):
        assert found["sfd_stage_seconds_count", (("stage", stage),)] == 1
    assert found["sfd_batch_size_sum", ()] == 1
    assert found["sfd_queue_depth", ()] == 0
    assert found["sfd_in_flight", ()] == 1  # the scrape itself
    assert found["sfd_rejected_total", (("reason", "unsupported-media-type"),)] == 1
    assert found["sfd_faces_total", ()] == 2
    assert found["sfd_image_pixels_sum", ()] == 64 * 64
    labels = (("model", "cells"), ("precision", "float32"), ("provider", "cpu"), ("version", "7"))
    assert found["sfd_model_info", labels] == 1
    assert found["sfd_model_ready", (("model", "cells"),)] == 1
    assert ("process_resident_memory_bytes", ()) in found


def test_two_services_in_one_process_count_separately(serve: Any) -> None:
    with serve() as one, serve() as other:
        one.get("/livez")
        assert ("sfd_requests_total", (("route", "/livez"), ("status", "200"))) in samples(one)
        assert ("sfd_requests_total", (("route", "/livez"), ("status", "200"))) not in samples(
            other
        )


def test_a_scraper_may_ask_for_openmetrics(client: TestClient) -> None:
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
