"""`sfd serve --ray`: the application of Ray Serve on a Ray cluster of this machine alone."""

import logging
import os
import signal
import threading

from detection.errors import StartError
from detection.opening import find_model
from service import signals
from service.cluster import refusals
from service.cluster.limits import derive, threads_for
from service.listening import KEEP_ALIVE_S, listen
from service.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings, replicas: int) -> None:
    """Serve with `replicas` processes that share SFD_THREADS, until a signal ends it.

    Raises StartError if Ray or a replica does not start, ModelError for a model that is not there.
    """
    if os.environ.get("RAY_ADDRESS"):
        raise StartError(
            "--ray starts a Ray cluster of its own, but RAY_ADDRESS is set: unset it, or use "
            "`serve deploy` for that cluster (docs/scaling.md)"
        )
    if settings.port == 0:
        raise StartError("SFD_PORT: must not be 0 with --ray")
    for name in settings.served_models:
        find_model(settings, name)
    # Ray's proxy would share the port of another one.
    with listen(settings.host, settings.port):
        pass
    # Ray's processes inherit them.
    os.environ[refusals.VARIABLE] = refusals.VALUE
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray kills a proxy that is not ready within 5 s, and then gives up. On a busy machine the
    # imports alone may take longer.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "30")
    import ray
    from ray import serve

    from service.ray_serve import Arguments, application

    num_cpus = settings.threads / replicas
    # Here SFD_THREADS is that of the machine, and in the application that of a replica.
    share: dict[str, str | float] = {"SFD_THREADS": threads_for(num_cpus)}
    built = application(Arguments(replicas=replicas, num_cpus=num_cpus, settings=share))
    stop = threading.Event()
    # A terminal that is closed sends SIGHUP to Ray's processes, too. They inherit the mask, and so
    # they live until the requests are finished.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    ray.init(
        address="local",
        num_cpus=settings.threads,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=True,
    )
    # After Ray's own handlers.
    for number in signals.ending():
        signal.signal(number, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        serve.start(
            http_options={
                "host": settings.host,
                "port": settings.port,
                "request_timeout_s": derive(settings).proxy_timeout_s,
                "keep_alive_timeout_s": KEEP_ALIVE_S,
            }
        )
        try:
            serve.run(built)
        except RuntimeError as error:
            log.error("%s", error)
            raise StartError("no replica started; the log says why") from None
        log.info("ready, listening on http://%s:%d", settings.host, settings.port)
        stop.wait()
        log.info("stopping Ray")
    finally:
        serve.shutdown()
        ray.shutdown()
