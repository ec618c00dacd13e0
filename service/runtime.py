"""What a running service holds: its settings, models, threads and metrics, and its state."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from service import network
from service.batcher import Batcher, Handle
from service.body import BodyMemory
from service.detector import Detector
from service.errors import Overloaded, UnknownModel
from service.letterboxing import Pixels
from service.metrics import Metrics
from service.network import Candidates, Network
from service.settings import Settings
from store import model as models
from store.places import locate

log = logging.getLogger(__name__)

BODIES_IN_MEMORY = 16
"""Bodies of the largest size that are held at the same time; smaller ones, more of them."""


class LoopClock:
    """The clock of the running event loop."""

    def time(self) -> float:
        """Seconds since some start."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call back at a time."""
        return asyncio.get_running_loop().call_at(when, callback)


@dataclass(eq=False)
class Runtime:
    """The one object behind all routes; `load` makes it."""

    settings: Settings
    metrics: Metrics
    detectors: dict[str, Detector]
    """By model name, the default model first."""
    executors: Sequence[Executor] = ()
    ready: bool = False
    draining: bool = False
    memory: BodyMemory = field(init=False)

    def __post_init__(self) -> None:
        self.memory = BodyMemory(BODIES_IN_MEMORY * self.settings.max_bytes)
        self.metrics.queue_depth.set_function(
            lambda: sum(d.batcher.depth for d in self.detectors.values())
        )
        for detector in self.detectors.values():
            model = detector.network.model
            self.metrics.model_info.labels(
                model.name, model.version, detector.network.provider
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
            await loop.run_in_executor(None, detector.network.warm_up, sizes)
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
        await asyncio.gather(*(d.batcher.drain() for d in self.detectors.values()))
        for executor in self.executors:
            executor.shutdown(wait=False, cancel_futures=True)


def load(settings: Settings) -> Runtime:
    """Check and open every model of the settings; ModelError or StartError says what is wrong."""
    metrics = Metrics()
    decoding = ThreadPoolExecutor(settings.threads, "decode")
    selecting = ThreadPoolExecutor(1, "select")
    executors = [decoding, selecting]
    detectors = {}
    for name in settings.served_models:
        opened = network.load(
            models.load(locate(name, settings.model_store)),
            settings.provider,
            max(1, settings.threads // settings.workers),
            settings.max_batch,
        )
        log.info("model %s runs on %s", name, opened.provider)
        # Of its own: in a pool that models share, a batch would wait behind another model's, where
        # neither deadlines nor the depth of the queue count.
        inferring = ThreadPoolExecutor(settings.workers, f"infer-{name}")
        executors.append(inferring)
        detectors[name] = Detector(
            opened,
            _batcher(opened, settings, metrics, inferring),
            metrics,
            settings.max_pixels,
            decoding,
            selecting,
        )
    return Runtime(settings, metrics, detectors, executors)


def _batcher(
    opened: Network, settings: Settings, metrics: Metrics, executor: Executor
) -> Batcher[Pixels, Candidates]:
    def infer(items: Sequence[Pixels]) -> Awaitable[Sequence[Candidates]]:
        return asyncio.get_running_loop().run_in_executor(executor, opened.run, items)

    def failed(error: Exception) -> None:
        log.error("inference of %s failed: %s", opened.model.name, error, exc_info=error)

    return Batcher(
        infer=infer,
        clock=LoopClock(),
        max_batch=settings.max_batch,
        max_wait=settings.max_wait_ms / 1000,
        queue_limit=settings.queue_limit,
        workers=settings.workers,
        on_batch=metrics.batch_size.observe,
        on_failure=failed,
    )
