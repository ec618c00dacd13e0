"""The server: uvicorn, from the warm-up to exit code 0 after SIGTERM."""

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from service import signals
from service.accepting import Acceptor
from service.app import create_app
from service.connections import HEAD_BYTES, Connection
from service.descriptors import Descriptors
from service.listening import KEEP_ALIVE_S, address_of, url_of
from service.log_writer import LogWriter
from service.runtime import Runtime
from service.settings import HANG_S
from service.tracing import Tracing

if TYPE_CHECKING:
    from service.rpc.server import RpcServer

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server; it answers probes while it warms up, and exits 0 on SIGTERM."""

    def __init__(self, loaded: Runtime, writer: LogWriter) -> None:
        app = create_app(loaded)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                http=Connection,
                h11_max_incomplete_event_size=HEAD_BYTES,
                ws="none",
                timeout_keep_alive=KEEP_ALIVE_S,
                # uvicorn takes whole seconds. With 0 it reports an error, even without requests.
                timeout_graceful_shutdown=max(1, math.ceil(loaded.settings.shutdown_grace_s)),
            )
        )
        self.runtime = loaded
        self.writer = writer
        self.descriptors = Descriptors(loaded.metrics.file_limits.inc)
        self.traces: Tracing | None = app.state.traces
        self.rpc: RpcServer | None = None
        self._acceptors: list[Acceptor] = []

    async def run_until_signal(
        self, listener: socket.socket, grpc_listener: socket.socket | None = None
    ) -> None:
        """Serve on bound sockets. Raises StartError if the models do not run."""
        if grpc_listener is not None:
            await self._start_rpc(grpc_listener)
        serving = asyncio.create_task(self.serve([listener]))
        address = url_of(listener)
        log.info("warming up on port %s", listener.getsockname()[1])
        warming = asyncio.create_task(self.runtime.warm_up())
        await asyncio.wait({serving, warming}, return_when=asyncio.FIRST_COMPLETED)
        if not warming.done():
            await serving
            log.info("ended while a model was warming up")
            self.writer.flush()
            # Threads cannot be stopped, and the interpreter would wait for this one.
            os._exit(0)
        if error := warming.exception():
            self.should_exit = True
        elif self.runtime.ready:
            if self.rpc is not None:
                await self.rpc.publish()
            log.info("ready, listening on %s", address)
        await serving
        if self.rpc is not None:
            await self.rpc.abort()
        if error:
            raise error

    async def _start_rpc(self, grpc_listener: socket.socket) -> None:
        """Serve gRPC too, on the address of a socket that is closed for it."""
        from service.rpc.server import RpcServer

        address = address_of(*grpc_listener.getsockname()[:2])
        grpc_listener.close()
        self.rpc = RpcServer(self.runtime, self.traces)
        await self.rpc.start(address)
        self.runtime.before_close.append(self.rpc.stop)
        log.info("gRPC on %s", address)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, and accept connections."""
        # Without sockets, because the event loop's own servers fail at the limit of open files.
        await super().startup(sockets=[])
        for listener in sockets or []:
            acceptor = Acceptor(
                listener, self._protocol, self.descriptors, self.server_state.connections
            )
            acceptor.resume()
            self._acceptors.append(acceptor)

    def _protocol(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and finish the requests of those there are."""
        for acceptor in self._acceptors:
            await acceptor.close()
        await super().shutdown(sockets=sockets)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self.descriptors.check()
        for acceptor in self._acceptors:
            acceptor.resume()
        if self.rpc is not None:
            await self.rpc.publish()
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down in order on SIGTERM, SIGINT and SIGHUP, and at once on a second SIGINT.

        uvicorn's own handler raises the signal again at the end, which would make the exit code
        143.
        """
        loop = asyncio.get_running_loop()
        ending = signals.ending()
        for number in ending:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in ending:
                loop.remove_signal_handler(number)
            # All requests are answered: a second signal must not change the exit code.
            for number in {signal.SIGTERM, signal.SIGHUP}.intersection(ending):
                signal.signal(number, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Become not ready at once; the event loop does the rest."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        log.info("%s: finishing the accepted requests", signal.Signals(sig).name)
        if not self.should_exit:
            # Use a separate thread, because the interpreter waits for hanging threads at exit.
            longest = self.runtime.settings.shutdown_grace_s + HANG_S
            watchdog = threading.Timer(longest, self._give_up)
            watchdog.daemon = True
            watchdog.start()
        self.runtime.start_draining()
        if self.rpc is not None:
            self.rpc.begin_stop()
        self.should_exit = True

    def _give_up(self) -> None:
        """Exit although a thread still runs; the clients of its batch were answered."""
        log.error("an inference hangs: the process exits without waiting for it")
        self.writer.flush()
        os._exit(1)
