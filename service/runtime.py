"""The running service: its settings, models, threads and metrics, and its state."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from detection.detector import Detector
from detection.errors import Overloaded
from detection.opening import Pools, find_model, open_detector
from service.body import BodyMemory
from service.errors import UnknownModel
from service.fetching.fetcher import Fetcher
from service.keys import Keys
from service.metrics import Metrics
from service.observer import ServiceObserver
from service.settings import Settings

log = logging.getLogger(__name__)

BODIES_IN_MEMORY = 16
"""How many bodies of the largest size may be in memory at the same time."""


@dataclass(eq=False)
class Runtime:
    """The object behind all routes; `load` makes it."""

    settings: Settings
    metrics: Metrics
    detectors: dict[str, Detector]
    """By model name, the default model first."""
    pools: Pools | None = None
    ready: bool = False
    draining: bool = False
    before_close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Awaited by `close` before the detectors end: servers that still finish their requests."""
    memory: BodyMemory = field(init=False)
    keys: Keys = field(init=False)
    fetcher: Fetcher | None = field(init=False)
    """Where images may be sent by URL."""

    @property
    def is_ready(self) -> bool:
        """Whether traffic should come: after the warm-up, before draining, and without a stall."""
        return self.ready and not self.draining and not self.stalled

    def __post_init__(self) -> None:
        self.memory = BodyMemory(BODIES_IN_MEMORY * self.settings.max_bytes)
        self.keys = Keys(key.get_secret_value() for key in self.settings.api_keys)
        hosts = self.settings.fetch_hosts
        self.fetcher = Fetcher(hosts, self.settings.fetch_private, self.metrics) if hosts else None
        self.metrics.queue_depth.set_function(
            lambda: sum(d.batcher.depth for d in self.detectors.values())
        )
        if self.pools is not None:
            self.metrics.decoders_cpu.set_function(self.pools.decoder.cpu_seconds)
            self.metrics.decoders_memory.set_function(self.pools.decoder.memory)
        for detector in self.detectors.values():
            session = detector.session
            model = session.model
            self.metrics.model_info.labels(
                model.name, model.version, session.provider, session.precision
            ).set(1)
            ready = self.metrics.model_ready.labels(model.name)
            ready.set_function(partial(getattr, self, "is_ready"))
            self.metrics.model_workers.labels(model.name).set(detector.plan.workers)
            self.metrics.model_max_batch.labels(model.name).set(detector.plan.max_batch)
            cost = self.metrics.model_image_seconds.labels(model.name)
            cost.set_function(partial(getattr, detector.batcher.admission, "image_seconds"))
            wait = self.metrics.predicted_wait.labels(model.name)
            wait.set_function(partial(getattr, detector.batcher, "wait"))

    @property
    def stalled(self) -> bool:
        """Whether images wait for decoding and nothing happens."""
        return self.pools is not None and self.pools.decoder.stalled

    @property
    def default(self) -> Detector:
        """The detector of a request that names no model."""
        return next(iter(self.detectors.values()))

    def detector(self, name: str | None) -> Detector:
        """A detector by its model's name. UnknownModel lists the known names."""
        if name is None:
            return self.default
        try:
            return self.detectors[name]
        except KeyError:
            names = ", ".join(self.detectors)
            raise UnknownModel(f"no model {name[:100]!r}; there is {names}") from None

    def check_open(self) -> None:
        """Raise Overloaded unless the service takes requests."""
        if self.draining:
            raise Overloaded("the service is shutting down")
        if not self.ready:
            raise Overloaded("the service is warming up")

    async def warm_up(self) -> None:
        """Run every model once at the smallest and the largest batch, then become ready."""
        loop = asyncio.get_running_loop()
        for name, detector in self.detectors.items():
            sizes = {1, detector.plan.max_batch}
            await loop.run_in_executor(None, detector.session.warm_up, sizes)
            log.info("model %s is warm", name)
        if self.draining:
            return
        self.ready = True

    def start_draining(self) -> None:
        """Become not ready, and accept no new work."""
        self.draining = True

    async def close(self) -> None:
        """Finish the accepted requests, then end the threads."""
        self.start_draining()
        await asyncio.gather(*(finish() for finish in self.before_close))
        await asyncio.gather(*(detector.close() for detector in self.detectors.values()))
        if self.pools is not None:
            await asyncio.to_thread(self.pools.close)


def load(settings: Settings, before_measuring: Callable[[], object] = lambda: None) -> Runtime:
    """Check and open every model of the settings. Raises ModelError or StartError.

    `before_measuring` is called before the speed of a model is measured.
    """
    metrics = Metrics()
    observer = ServiceObserver(metrics)
    models = [find_model(settings, name) for name in settings.served_models]
    pools = Pools.start(settings, models, observer.decoder_stopped)
    try:
        detectors = {
            model.name: open_detector(
                model,
                settings,
                observer=observer,
                pools=pools,
                measure=True,
                before_measuring=before_measuring,
                target_wait=settings.target_wait_s,
            )
            for model in models
        }
    except BaseException:
        pools.close()
        raise
    return Runtime(settings, metrics, detectors, pools)
