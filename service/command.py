"""`sfd serve`: the HTTP service as a process, from its settings to exit code 0 after SIGTERM."""

import argparse
import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import uvicorn

from detection.detector import Detection, Query
from detection.errors import RequestError, StartError
from service import logs, runtime, settings
from service.app import create_app
from service.connections import HEAD_BYTES, Connection
from service.descriptors import EXHAUSTED, Descriptors
from service.listening import KEEP_ALIVE_S, address_of, listen, listen_for_grpc, url_of
from service.log_writer import LogWriter
from service.routes.pages import SAMPLE
from service.runtime import Runtime
from service.settings import HANG_S, Settings
from service.tracing import Tracing
from sfd import extras
from sfd.arguments import positive

if TYPE_CHECKING:
    from service.rpc.server import RpcServer

DESCRIPTION = """\
Serve POST /detect and the demo page over HTTP, and the Open Inference Protocol over gRPC if
SFD_GRPC_PORT is set. On SIGTERM the service stops being ready, accepts no more requests, finishes
those it has accepted, and exits with 0.

All settings are environment variables:
"""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; the help lists every setting from the model itself."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="load and warm up the models, detect on a built-in photograph, report, and exit",
    )
    parser.add_argument(
        "--ray",
        metavar="REPLICAS",
        type=positive,
        nargs="?",
        const=1,
        help="serve with Ray, on a cluster of this machine alone, for a first try: REPLICAS "
        "processes (default: 1) share the threads; needs the extra `ray` (docs/scaling.md)",
    )
    parser.description = DESCRIPTION + "\n".join(
        f"\n  {name}  ({accepted})\n      {text}" for name, accepted, text in settings.describe()
    )


def run(arguments: argparse.Namespace) -> None:
    """Serve until a signal. Raises SfdError if the service can't start."""
    configured = settings.load()
    writer = logs.configure(configured.log_format, configured.log_level)
    try:
        _run(arguments, configured, writer)
    finally:
        # The line that says why a start failed comes after those of the log.
        writer.flush()


def _run(arguments: argparse.Namespace, configured: Settings, writer: LogWriter) -> None:
    for name in settings.unknown_variables():
        log.warning("%s", settings.not_a_setting(name))
    check_grpc(configured)
    if arguments.dry_run:
        asyncio.run(dry_run(configured))
        return
    if arguments.ray is not None:
        from service.cluster import local

        local.run(configured, arguments.ray)
        return
    # Until the server installs its own handlers: a cancelled start is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Bind the port first, so that a port in use is reported before the models are loaded.
    with (
        listen(configured.host, configured.port) as listener,
        listen_for_grpc(configured) as grpc_listener,
    ):
        loaded = runtime.load(configured)
        writer.on_drop = loaded.metrics.log_lines_dropped.inc
        server = Server(loaded, writer)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.run_until_signal(listener, grpc_listener))


def check_grpc(configured: Settings) -> None:
    """Raise StartError if gRPC is wanted and one of its packages is missing."""
    if configured.grpc_port is None:
        return
    try:
        import_module("service.rpc.server")
    except ModuleNotFoundError as error:
        raise StartError(
            f"SFD_GRPC_PORT needs the Python package {error.name!r}, which is not installed: "
            f"run {extras.install('grpc')}"
        ) from None


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
                timeout_graceful_shutdown=math.ceil(loaded.settings.shutdown_grace_s),
            )
        )
        self.runtime = loaded
        self.writer = writer
        self.descriptors = Descriptors(loaded.metrics.file_limits.inc)
        self.traces: Tracing | None = app.state.traces
        self.rpc: RpcServer | None = None

    async def run_until_signal(
        self, listener: socket.socket, grpc_listener: socket.socket | None = None
    ) -> None:
        """Serve on bound sockets. Raises StartError if the models do not run."""
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
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

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self.descriptors.check()
        if self.rpc is not None:
            await self.rpc.publish()
        return await super().on_tick(counter)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong outside of requests, except what `Descriptors` reports.

        At the limit of open files asyncio reports each attempt to accept a connection, and later
        fails to listen again if the socket has been closed.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return
        if self.should_exit and "_start_serving" in context.get("message", ""):
            return
        loop.default_exception_handler(context)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Shut down in order on SIGTERM and SIGINT, and at once on a second SIGINT.

        uvicorn's own handler raises the signal again at the end, which would make the exit code
        143.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            # All requests are answered: a second SIGTERM must not change the exit code.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

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


async def dry_run(configured: Settings) -> None:
    """Check a deployment before it takes traffic; prints a report on stdout."""
    started = time.perf_counter()
    loaded = runtime.load(configured)
    opened = time.perf_counter()
    await loaded.warm_up()
    warm = time.perf_counter()
    print(f"models loaded in {opened - started:.2f} s, warmed up in {warm - opened:.2f} s")
    for detector in loaded.detectors.values():
        session = detector.session
        print(f"{session.model.name} version {session.model.version} on {session.provider} in "
              f"{session.precision}")  # fmt: skip
        plan = detector.plan
        print(f"  workers {plan.workers}, threads {plan.threads} each, batches of up to "
              f"{plan.max_batch} ({plan.reason})")  # fmt: skip
        if session.fallback:
            print(f"  not on a faster provider: {session.fallback}")
        deadline = asyncio.get_running_loop().time() + configured.request_timeout_s
        (found,) = await detector.detect_all([SAMPLE.read_bytes()], Query(), deadline)
        if isinstance(found, RequestError):
            raise StartError(f"{session.model.name}: the built-in photograph failed: {found}")
        print(f"  {_describe(found)}")
    await loaded.close()


def _describe(found: Detection) -> str:
    times = ", ".join(f"{stage} {ms:.1f}" for stage, ms in found.timings.milliseconds().items())
    best = f", the best with score {found.scores[0]:.3f}" if len(found.scores) else ""
    return f"built-in photograph: {len(found.scores)} face(s){best}; ms: {times}"
