"""The gRPC server: the protocol, the standard health service, and reflection."""

import asyncio

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from detection.errors import StartError
from service.rpc.calls import QUIET_S, SERVICE, Calls
from service.rpc.methods import METHODS
from service.runtime import Runtime
from service.tracing import Tracing

MOST_CALLS = 2048
"""At the same time. Each that waits takes some kilobytes; more are refused by gRPC."""

MOST_BYTES = 2**31 - 1
"""Of a message, which gRPC counts with an int."""

KEEP_ALIVE_MS = 60_000
"""After so long without a byte the server asks whether the client is still there."""


HANDSHAKE_MS = 20_000
"""How long a new connection may take until it speaks HTTP/2, as service/connections.py has it."""


class RpcServer:
    """Answers gRPC from a runtime, in the running event loop."""

    def __init__(self, runtime: Runtime, tracing: Tracing | None) -> None:
        self._runtime = runtime
        self._calls = Calls(runtime, tracing)
        self._health = health.aio.HealthServicer()
        self._stopping: asyncio.Task[None] | None = None
        self._published: bool | None = None
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", min(runtime.settings.max_bytes, MOST_BYTES)),
                # Otherwise a second service could listen on the same port without an error.
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", KEEP_ALIVE_MS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ],
            maximum_concurrent_rpcs=MOST_CALLS,
        )
        handlers = {method.name: self._calls.handler(method) for method in METHODS}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> None:
        """Listen on `host:port`; health is NOT_SERVING. Raises StartError if that fails."""
        await self.publish()
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise StartError(
                f"cannot listen for gRPC on {address} (SFD_HOST, SFD_GRPC_PORT)"
            ) from None
        await self._server.start()

    async def publish(self) -> None:
        """Tell the health service whether requests are taken, if that has changed."""
        is_ready = self._runtime.is_ready
        if is_ready == self._published:
            return
        self._published = is_ready
        state = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            await self._health.set(service, state.SERVING if is_ready else state.NOT_SERVING)

    def begin_stop(self) -> asyncio.Task[None]:
        """Take no more calls, and finish the accepted ones within the grace time."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        return self._stopping

    async def stop(self) -> None:
        """Return when the calls have ended after `begin_stop`."""
        await asyncio.shield(self.begin_stop())

    async def abort(self) -> None:
        """End all calls at once, if `stop` did not end them."""
        await self._server.stop(None)

    async def _stop(self) -> None:
        await self._health.enter_graceful_shutdown()
        # Until the end a new call is answered UNAVAILABLE. When gRPC stops, it cancels the calls
        # that it has not handed over yet, and a client does not try those again.
        await self._calls.finish(self._runtime.settings.shutdown_grace_s)
        await self._calls.quiet()
        # What is left then are streams that have no end: a client that watches the health.
        await self._server.stop(QUIET_S)
