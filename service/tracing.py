"""OpenTelemetry traces: a span for each request, with the stages of each image in it.

Off unless the environment names a collector, `OTEL_EXPORTER_OTLP_ENDPOINT` or
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. The SDK reads its other variables itself (service name,
sampler, headers, timeouts, `OTEL_SDK_DISABLED`). Spans carry no image content and no query.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from detection.timings import Timings
from sfd import extras
from sfd.distribution import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NANOSECONDS = 1_000_000_000

Attributes = dict[str, str | int]

_current: ContextVar["Tracing | None"] = ContextVar("tracing", default=None)


@dataclass(frozen=True, slots=True)
class Ended:
    """The span of a request that has its answer."""

    name: str
    attributes: Attributes
    failed: bool
    """Whether the service failed, and not the client."""


class Tracing:
    """Sends spans to the environment's collector, in batches, from its own thread."""

    def __init__(
        self,
        provider: "TracerProvider",
        tracer: "Tracer",
        extract: "Callable[[dict[str, str]], Context]",
    ) -> None:
        self._provider = provider
        self._tracer = tracer
        self._extract = extract

    @contextmanager
    def request(self, headers: Headers, end: Callable[[], Ended]) -> Iterator[None]:
        """A span around a request, joined to the trace of its `traceparent`.

        `end` describes it when its answer has ended.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode

        with self._tracer.start_as_current_span(
            "request", context=self._extract(dict(headers)), kind=SpanKind.SERVER
        ) as span:
            token = _current.set(self)
            try:
                yield
            finally:
                _current.reset(token)
                ended = end()
                span.update_name(ended.name)
                span.set_attributes(ended.attributes)
                if ended.failed:
                    span.set_status(Status(StatusCode.ERROR))

    def image(
        self, start_ns: int, stages: Iterable[tuple[str, float]], attributes: Attributes
    ) -> None:
        """Record a span for an image, with its stages (name, seconds) one after the other."""
        from opentelemetry.trace import set_span_in_context

        span = self._tracer.start_span("image", start_time=start_ns, attributes=attributes)
        inside = set_span_in_context(span)
        at = start_ns
        for name, seconds in stages:
            stage = self._tracer.start_span(name, context=inside, start_time=at)
            at += round(seconds * NANOSECONDS)
            stage.end(at)
        span.end(max(at, time.time_ns()))

    def close(self) -> None:
        """Send the remaining spans; takes some seconds if the collector does not answer."""
        self._provider.shutdown()


def start() -> Tracing | None:
    """The tracing that the environment asks for, if any.

    If a collector is named but the packages are missing, one warning is logged: in many clusters
    every container has that variable.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ModuleNotFoundError as error:
        log.warning(
            "no traces are sent: %s is set, but the package %s is not installed (%s)",
            next(name for name in ENDPOINTS if os.environ.get(name)),
            error.name,
            extras.install("otel"),
        )
        return None
    own: Attributes = {SERVICE_VERSION: VERSION}
    # Resource.create reads these two variables, but its arguments take precedence.
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        own[SERVICE_NAME] = "sfd"
    resource = Resource.create(own)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    propagator: TextMapPropagator = TraceContextTextMapPropagator()
    log.info("traces are sent to the collector of the environment")
    return Tracing(provider, provider.get_tracer("sfd", VERSION), propagator.extract)


def record(timings: Timings, waited: float, attributes: Attributes) -> None:
    """Record the stages of an image as spans of the request; does nothing when tracing is off.

    `waited` are the seconds of `timings.queue` that passed before the decoding.
    """
    tracing = _current.get()
    if tracing is None:
        return
    stages = [
        *([("queue to be decoded", waited)] if waited >= 0.0005 else []),
        ("decode", timings.decode),
        ("preprocess", timings.preprocess),
        ("queue", timings.queue - waited),
        ("inference", timings.inference),
        ("postprocess", timings.postprocess),
    ]
    tracing.image(time.time_ns() - round(timings.total * NANOSECONDS), stages, attributes)
