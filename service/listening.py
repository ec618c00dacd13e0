"""Binds the service's ports before the models are loaded, and names them."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from detection.errors import StartError
from service.settings import Settings

KEEP_ALIVE_S = 75
"""Longer than proxies keep idle connections (nginx: 60 s), so that the proxy closes first and never
sends a request into a connection that is being closed here."""

_NO_ADDRESS = (socket.EAI_NONAME, socket.EAI_FAMILY, socket.EAI_AGAIN)
"""What the system answers to a name that it can't resolve."""


@contextmanager
def listen(host: str, port: int, variable: str = "SFD_PORT") -> Iterator[socket.socket]:
    """A socket bound to the address; StartError if that fails. `::` is IPv4 too, as for gRPC."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        both = host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            (host, port), family=family, backlog=2048, dualstack_ipv6=both
        )
    except (OSError, TypeError) as error:
        # TypeError: a name that IDNA can't encode.
        if isinstance(error, TypeError) or error.errno in _NO_ADDRESS:
            reason = (
                "SFD_HOST must be an address or a name of this machine, without port or brackets"
            )
        elif error.errno == errno.EADDRINUSE:
            reason = f"the port is in use; stop the program that uses it, or set {variable}"
        else:
            reason = f"{error.strerror or error} (SFD_HOST, {variable})"
        raise StartError(f"cannot listen on {address_of(host, port)}: {reason}") from None
    with listener:
        yield listener


@contextmanager
def listen_for_grpc(configured: Settings) -> Iterator[socket.socket | None]:
    """The port for gRPC, if it is wanted. It is kept until gRPC itself can bind it."""
    if configured.grpc_port is None:
        yield None
        return
    with listen(configured.host, configured.grpc_port, "SFD_GRPC_PORT") as listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    """The address at which a browser on this machine finds the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{address_of('localhost' if host in ('0.0.0.0', '::') else host, port)}"


def address_of(host: str, port: int) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
