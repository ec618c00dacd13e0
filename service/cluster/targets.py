"""The metrics of every replica for Prometheus: a port for each, and their list.

Through Ray's proxy, /metrics answers for another replica each time. So each replica also listens
on a port of its own, on all addresses of its node, as Ray's own processes do.
`GET /metrics/targets` lists these ports in the format of Prometheus's HTTP service discovery.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, start_http_server

from service.listening import address_of
from service.paths import METRICS_TARGETS

Group = dict[str, Any]
"""{"targets": ["HOST:PORT"], "labels": {"replica": …}}"""

router = APIRouter(tags=["operation"])


def listen(registry: CollectorRegistry, host: str, replica: str) -> Group:
    """Serve the metrics of this process from a thread of their own; its entry for the list.

    `host` is the address under which the other nodes reach this one.
    """
    server, _ = start_http_server(0, "::" if ":" in host else "0.0.0.0", registry)
    port = server.server_address[1]
    return {"targets": [address_of(host, port)], "labels": {"replica": replica}}


@router.get(METRICS_TARGETS, include_in_schema=False)
async def targets(request: Request) -> list[Group]:
    """Where the metrics of each replica are."""
    collect: Callable[[], Awaitable[Iterable[object]]] = request.app.state.collect_targets
    # A replica that died a moment ago gives its exception.
    return [group for group in await collect() if isinstance(group, dict)]
