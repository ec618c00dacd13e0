"""Logs and counts a request once, when its answer has ended, whatever its protocol."""

import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.metrics import Metrics

log = logging.getLogger("service.access")

MOST_PATH = 1000
"""Characters of a path that a log line shows; a client can send 64 KiB."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that has its answer."""

    method: str
    path: str
    route: str
    """The pattern of the path: a label of the metrics."""
    status: int
    """The HTTP status, also of an answer over gRPC."""
    seconds: float
    client: str
    """The client's address; behind a proxy, what it says. Logged only if it is an IP address."""
    is_probe: bool
    fields: Mapping[str, Any] = field(default_factory=dict)
    """More members of the log line."""


def record(metrics: Metrics, answered: Answered) -> None:
    """Count a request, and write its log line."""
    metrics.requests.labels(answered.route, str(answered.status)).inc()
    metrics.request_seconds.labels(answered.route).observe(answered.seconds)
    # The log lines of probes would bury the others.
    level = logging.DEBUG if answered.is_probe and answered.status < 400 else logging.INFO
    path = answered.path[:MOST_PATH]
    fields = {
        "method": answered.method,
        "path": path,
        "route": answered.route,
        "status": answered.status,
        "duration_ms": round(answered.seconds * 1000, 3),
        "client": ip_address(answered.client),
    }
    fields |= answered.fields
    log.log(level, "%s %s %s", answered.method, path, answered.status,
            extra={"fields": fields})  # fmt: skip


def ip_address(text: str) -> str:
    """Text that is an IP address, in its usual form; otherwise an empty text.

    A zone (fe80::1%eth0) is dropped, because it may be of any length. IPv4 stays IPv4 on a socket
    for both.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)
