"""What a running service holds: its settings, models, threads and metrics, and its state."""

import asyncio
import logging
from dataclasses import dataclass, field

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
"""Bodies of the largest size that are held at the same time; smaller ones, more of them."""


@dataclass(eq=False)
class Runtime:
    """The one object behind all routes; `load` makes it."""

    settings: Settings
    metrics: Metrics
    detectors: dict[str, Detector]
    """By model name, the default model first."""
    pools: Pools | None = None
    ready: bool = False
    draining: bool = False
    memory: BodyMemory = field(init=False)
    keys: Keys = field(init=False)
    fetcher: Fetcher | None = field(init=False)
    """Where images may be sent by URL."""

    def __post_init__(self) -> None:
        self.memory = BodyMemory(BODIES_IN_MEMORY * self.settings.max_bytes)
        self.keys = Keys(key.get_secret_value() for key in self.settings.api_keys)
        hosts = self.settings.fetch_hosts
        self.fetcher = Fetcher(hosts, self.settings.fetch_private, self.metrics) if hosts else None
        self.metrics.queue_depth.set_function(
            lambda: sum(d.batcher.depth for d in self.detectors.values())
        )
        for detector in self.detectors.values():
            model = detector.session.model
            self.metrics.model_info.labels(
                model.name, model.version, detector.session.provider
            ).set(1)
            self.metrics.model_ready.labels(model.name).set(0)

    @property
    def default(self) -> Detector:
        """The detector of a request that names no model."""
        return next(iter(self.detectors.values()))

    def detector(self, name: str | None) -> Detector:
        """A detector by its model's name; UnknownModel says which there are."""
        if name is None:
            return self.default
        try:
            return self.detectors[name]
        except KeyError:
            names = ", ".join(self.detectors)
            raise UnknownModel(f"no model {name[:100]!r}; there is {names}") from None

    def check_open(self) -> None:
        """Raise Overloaded unless new work is taken."""
        if self.draining:
            raise Overloaded("the service is shutting down")
        if not self.ready:
            raise Overloaded("the service is warming up")

    async def warm_up(self) -> None:
        """Run every model once at the smallest and the largest batch; then it is ready."""
        loop = asyncio.get_running_loop()
        sizes = sorted({1, self.settings.max_batch})
        for name, detector in self.detectors.items():
            await loop.run_in_executor(None, detector.session.warm_up, sizes)
            log.info("model %s is warm", name)
        if self.draining:
            return
        self.ready = True
        for name in self.detectors:
            self.metrics.model_ready.labels(name).set(1)

    def start_draining(self) -> None:
        """Be not ready any more, and accept no new work."""
        self.draining = True
        for name in self.detectors:
            self.metrics.model_ready.labels(name).set(0)

    async def close(self) -> None:
        """Answer what was accepted, then end the threads."""
        self.start_draining()
        await asyncio.gather(*(detector.close() for detector in self.detectors.values()))
        if self.pools is not None:
            self.pools.close()


def load(settings: Settings) -> Runtime:
    """Check and open every model of the settings; ModelError or StartError says what is wrong."""
    metrics = Metrics()
    observer = ServiceObserver(metrics)
    pools = Pools.start(settings.threads)
    detectors = {
        name: open_detector(find_model(settings, name), settings, observer=observer, pools=pools)
        for name in settings.served_models
    }
    return Runtime(settings, metrics, detectors, pools)
