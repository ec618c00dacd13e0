"""Answers a request that failed, and leaves its mark in the metrics and in the request's log."""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Scope

from detection.errors import RequestError
from service import problems
from service.metrics import Metrics


def refusal(
    problem: RequestError, scope: Scope, metrics: Metrics, shapes: Sequence[problems.Shape]
) -> Response:
    """The answer with a problem, which is counted, and named in the log line of the request."""
    metrics.rejected.labels(problem.slug).inc()
    state = scope["state"]
    state["log_fields"] = {"problem": problem.slug, "detail": str(problem)}
    return problems.response(problem, state["request_id"], scope["path"], shapes)
