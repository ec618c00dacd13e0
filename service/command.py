"""`sfd serve`: the HTTP service as a process, from its settings to exit code 0 after SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import NoReturn

from detection.detector import Detection, Query
from detection.errors import RequestError, StartError
from service import descriptors, logs, proxies, runtime, settings
from service.listening import listen, listen_for_grpc
from service.log_writer import LogWriter
from service.settings import Settings
from sfd import collector, extras
from sfd.arguments import positive
from sfd.process import is_whole_process
from sfd.terminal import Parser

DESCRIPTION = """\
Serve POST /detect and the demo page over HTTP, and the Open Inference Protocol over gRPC if
SFD_GRPC_PORT is set. On SIGTERM, Ctrl-C or a closed terminal the service stops being ready, accepts
no more requests, finishes those it has accepted, and exits with 0.

All settings are environment variables:
"""

log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
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
    parser.more_help = _settings_help


def _settings_help() -> str:
    return "\n".join(
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
    for item in proxies.unknown():
        log.warning(
            "%s: %s is ignored: it is neither an address nor a network such as 10.0.0.0/8, where "
            "the bits after the prefix are 0; * works only on its own",
            proxies.VARIABLE, item,
        )  # fmt: skip
    descriptors.check_limit()
    check_grpc(configured)
    if arguments.dry_run:
        asyncio.run(dry_run(configured))
        return
    if arguments.ray is not None:
        from service.cluster import local

        local.run(configured, arguments.ray)
        return
    # Until the server installs its own handlers.
    signal.signal(signal.SIGTERM, lambda *_: _cancel(writer))
    # Bind the port first, so that a port in use is reported before the models are loaded.
    with (
        listen(configured.host, configured.port) as listener,
        listen_for_grpc(configured) as grpc_listener,
    ):
        with collector.paused(), ThreadPoolExecutor(1, "import") as pool:
            # The routes and their libraries take as long to import as a model takes to open.
            importing = pool.submit(_import_server)
            loaded = runtime.load(configured, before_measuring=importing.result)
            importing.result()
        from service.server import Server

        writer.on_drop = loaded.metrics.log_lines_dropped.inc
        server = Server(loaded, writer)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.run_until_signal(listener, grpc_listener))


def _cancel(writer: LogWriter) -> NoReturn:
    """Exit on SIGTERM during the start: that is not a failure, and there is nothing to clean up.

    An exception may come just when this thread took a lock of a pool of threads. Nobody releases
    it then, those that wait for it never end, and the exit waits for them.
    """
    if is_whole_process():
        writer.flush()
        os._exit(0)
    sys.exit(0)


def _import_server() -> None:
    """Raises StartError if one of its packages is missing."""
    try:
        import_module("service.server")
    except ModuleNotFoundError as error:
        raise StartError(extras.lacking("serve", error)) from None


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


async def dry_run(configured: Settings) -> None:
    """Check a deployment before it takes traffic; prints a report on stdout."""
    # What serving would need, too.
    _import_server()
    from service.routes.pages import SAMPLE

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
        print(f"  {detector.plan}")
        if session.fallback:
            print(f"  not on a faster provider: {session.fallback}")
        deadline = asyncio.get_running_loop().time() + configured.request_timeout_s
        try:
            (found,) = await detector.detect_all([SAMPLE.read_bytes()], Query(), deadline)
        except RequestError as problem:
            found = problem
        if isinstance(found, RequestError):
            raise StartError(f"{session.model.name}: the built-in photograph failed: {found}")
        print(f"  {_describe(found)}")
    await loaded.close()


def _describe(found: Detection) -> str:
    times = ", ".join(f"{stage} {ms:.1f}" for stage, ms in found.timings.milliseconds().items())
    best = f", the best with score {found.scores[0]:.3f}" if len(found.scores) else ""
    return f"built-in photograph: {len(found.scores)} face(s){best}; ms: {times}"
