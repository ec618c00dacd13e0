"""A span around each request but the probes; what a collector gets is in `test_tracing`."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.testclient import TestClient

from service import runtime as runtimes
from service import tracing
from service.app import create_app
from service.settings import Settings
from service.tracing import Tracing

Cells = Callable[..., bytes]


@pytest.fixture
def exported(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[TestClient, InMemorySpanExporter]]:
    """A warm service, and where its spans end up."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    extract = TraceContextTextMapPropagator().extract
    monkeypatch.setattr(
        tracing, "start", lambda: Tracing(provider, provider.get_tracer("sfd"), extract)
    )
    runtime = runtimes.load(settings())
    with TestClient(create_app(runtime), raise_server_exceptions=False) as client:
        assert client.portal is not None
        client.portal.call(runtime.warm_up)
        yield client, exporter


Exported = tuple[TestClient, InMemorySpanExporter]


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {})[name]


def test_a_request_is_a_span_named_by_its_method_and_route(exported: Exported) -> None:
    client, exporter = exported
    client.get("/models/cells", headers={"X-Request-ID": "mine"})
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /models/{name}"
    assert attribute(span, "http.response.status_code") == 200
    assert attribute(span, "url.path") == "/models/cells"
    assert attribute(span, "sfd.request_id") == "mine"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v2/health/live"])
def test_probes_have_no_span(exported: Exported, path: str) -> None:
    client, exporter = exported
    client.get(path)
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(None, 415, StatusCode.UNSET), (ZeroDivisionError("x"), 500, StatusCode.ERROR)],
    ids=["the client's mistake", "ours"],
)
def test_only_our_own_failures_are_errors(
    exported: Exported, fault: Exception | None, status: int, code: StatusCode
) -> None:
    client, exporter = exported
    if fault is not None:

        def check_open() -> None:
            raise fault

        client.app.state.runtime.check_open = check_open  # type: ignore[attr-defined]
    assert client.post("/detect", content=b"no image").status_code == status
    (span,) = exporter.get_finished_spans()
    assert attribute(span, "http.response.status_code") == status
    assert span.status.status_code == code


def test_the_stages_of_an_image_are_inside_its_request(
    exported: Exported, bright_cells: Cells
) -> None:
    client, exporter = exported
    client.post("/detect", content=bright_cells(1))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, image = spans["POST /detect"], spans["image"]
    assert image.parent is not None
    assert request.context is not None
    assert image.parent.span_id == request.context.span_id
