"""Traces as a collector receives them from a running service: OTLP over HTTP, protobuf."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from service import tracing
from tests.servers import StartServer

ONE_IMAGE, THREE_IMAGES, WRONG, GRPC = (
    f"{number}bf92f3577b34da6a3ce929d0e0e4736" for number in range(4, 8)
)
"""The traces of the requests that `traced` sends."""
PARENT = "00f067aa0ba902b7"
STAGES = ["decode", "preprocess", "queue", "inference", "postprocess"]
Cells = Callable[..., bytes]


class Collector:
    """An OTLP/HTTP collector on a free port that keeps what it receives."""

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.paths.add(self.path)
                collector.received += ExportTraceServiceRequest.FromString(body).resource_spans
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span for each in self.received for scope in each.scope_spans for span in scope.spans
        ]

    def of(self, trace: str) -> list[Span]:
        """The spans of a trace."""
        return [span for span in self.spans if span.trace_id.hex() == trace]

    def attributes(self, span: Span) -> dict[str, Any]:
        return {
            each.key: each.value.string_value or each.value.int_value for each in span.attributes
        }


@contextmanager
def run_collector() -> Iterator[Collector]:
    started = Collector()
    thread = threading.Thread(target=started.server.serve_forever)
    thread.start()
    yield started
    started.server.shutdown()
    started.server.server_close()
    thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with run_collector() as started:
        yield started


def of_trace(trace: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{PARENT}-01"}


@pytest.fixture(scope="module")
def traced(start_for_module: StartServer, bright_cells: Cells) -> Iterator[Collector]:
    """All spans of a service that got some requests, complete after its SIGTERM."""
    tensor = InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(np.asarray([bright_cells(1, 6)], np.object_))
    with run_collector() as collector:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            with start_for_module(GRPC_PORT=0) as server:
                with httpx.Client(base_url=server.url) as client:
                    answer = client.post(
                        "/detect?min_score=0.4",
                        content=bright_cells(1, 6),
                        headers=of_trace(ONE_IMAGE),
                    )
                    assert answer.headers["x-request-id"] == ONE_IMAGE
                    files = [("image", bright_cells(n)) for n in range(3)]
                    answer = client.post("/detect", files=files, headers=of_trace(THREE_IMAGES))
                    assert answer.status_code == 200
                    for probe in ("/livez", "/metrics", "/v2/health/ready"):
                        client.get(probe, headers=of_trace(WRONG))
                    answer = client.post("/detect", content=b"no image", headers=of_trace(WRONG))
                    assert answer.status_code == 415
                    assert client.get("/nothing-here", headers=of_trace(WRONG)).status_code == 404
                with InferenceServerClient(server.grpc) as grpc:
                    assert grpc.is_server_ready()
                    grpc.infer("cells", [tensor], headers=of_trace(GRPC))
                    with pytest.raises(InferenceServerException):
                        grpc.infer("nobody", [tensor], headers=of_trace(GRPC))
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(20) == 0
        yield collector


def test_a_request_is_a_span_of_its_clients_trace_with_its_stages_inside(
    traced: Collector,
) -> None:
    assert traced.paths == {"/v1/traces"}
    assert {span.trace_id.hex() for span in traced.spans} == {ONE_IMAGE, THREE_IMAGES, WRONG, GRPC}
    spans = traced.of(ONE_IMAGE)
    by_name = {span.name: span for span in spans}
    request, image = by_name["POST /detect"], by_name["image"]
    assert request.parent_span_id.hex() == PARENT
    assert request.kind == Span.SPAN_KIND_SERVER
    assert image.parent_span_id == request.span_id
    assert [s.name for s in spans if s.parent_span_id == image.span_id][-5:] == STAGES
    assert traced.attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/detect",
        "http.response.status_code": 200,
        "url.path": "/detect",
        "url.scheme": "http",
        "sfd.request_id": ONE_IMAGE,
    }
    assert traced.attributes(image)["sfd.faces"] == 2
    assert traced.attributes(image)["sfd.image.width"] == 64


def test_a_call_over_grpc_is_such_a_span_too(traced: Collector) -> None:
    spans = traced.of(GRPC)
    name = "inference.GRPCInferenceService/ModelInfer"
    good, bad = sorted(
        (span for span in spans if span.name == name), key=lambda span: span.start_time_unix_nano
    )
    (image,) = (span for span in spans if span.name == "image")
    assert good.parent_span_id.hex() == PARENT
    assert image.parent_span_id == good.span_id
    assert traced.attributes(good) == {
        "rpc.system": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "rpc.grpc.status_code": 0,
        "sfd.request_id": GRPC,
    }
    assert traced.attributes(bad)["rpc.grpc.status_code"] == 5
    assert bad.status.code == Status.STATUS_CODE_UNSET


def test_the_stages_follow_each_other_inside_the_request(traced: Collector) -> None:
    by_name = {span.name: span for span in traced.of(ONE_IMAGE)}
    stages = [by_name[name] for name in STAGES]
    for earlier, later in pairwise(stages):
        assert earlier.start_time_unix_nano <= earlier.end_time_unix_nano
        assert earlier.end_time_unix_nano == later.start_time_unix_nano
    request = by_name["POST /detect"]
    # Two clocks and rounding: a millisecond.
    slack = 1_000_000
    assert stages[0].start_time_unix_nano >= request.start_time_unix_nano - slack
    assert stages[-1].end_time_unix_nano <= request.end_time_unix_nano + slack


def test_spans_name_the_service(traced: Collector) -> None:
    resource = {
        each.key: each.value.string_value for each in traced.received[0].resource.attributes
    }
    assert resource["service.name"] == "sfd"
    assert resource["service.version"]


def test_client_errors_are_not_failures_and_probes_are_not_traced(traced: Collector) -> None:
    spans = traced.of(WRONG)
    assert {span.name for span in spans} == {"POST /detect", "GET other"}
    statuses = {traced.attributes(span)["http.response.status_code"] for span in spans}
    assert statuses == {415, 404}
    # A client's mistake is not an error of a server span.
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}


def test_each_image_of_a_request_has_its_own_span(traced: Collector) -> None:
    names = [span.name for span in traced.of(THREE_IMAGES)]
    assert names.count("image") == 3
    assert names.count("inference") == 3
    assert names.count("POST /detect") == 1


def test_a_server_error_is_marked(
    collector: Collector, store: Path, tmp_path: Path, start_real_server: Any,
    sleeping: Callable[[object], str], bright_cells: Cells,
) -> None:  # fmt: skip
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells",
                   "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                   "SFD_REQUEST_TIMEOUT_S": "0.2"}  # fmt: skip
    slow = sleeping("2 * (images[0].max() > 200)")
    with start_real_server(tmp_path, environment, slow) as server:
        assert httpx.post(f"{server.url}/detect", content=bright_cells(1)).status_code == 504
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    (request,) = [span for span in collector.spans if span.name == "POST /detect"]
    assert collector.attributes(request)["http.response.status_code"] == 504
    assert request.status.code == Status.STATUS_CODE_ERROR


def test_without_an_endpoint_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert tracing.start() is None


def test_the_sdk_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "True")
    assert tracing.start() is None


def test_a_missing_package_is_one_warning_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with caplog.at_level(logging.WARNING):
        assert tracing.start() is None
    (record,) = caplog.records
    assert "pip install 'sfd[otel]'" in record.message
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in record.message


def test_an_unreachable_collector_affects_neither_answers_nor_the_exit(
    store: Path, tmp_path: Path, start_real_server: Any, bright_cells: Cells
) -> None:
    environment = {
        "SFD_MODEL_STORE": str(store),
        "SFD_MODELS": "cells",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    with start_real_server(tmp_path, environment) as server:
        assert httpx.post(f"{server.url}/detect", content=bright_cells(2)).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
