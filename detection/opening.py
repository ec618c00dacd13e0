"""From a model folder to a `Detector`, without a server around it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from detection.batcher import Batcher, Handle
from detection.detector import Detector
from detection.letterbox import Pixels
from detection.observer import Observer
from detection.session import Predictions, Session, open_session
from detection.settings import DetectionSettings
from store import model as models
from store.model import Model

log = logging.getLogger(__name__)


class LoopClock:
    """The clock of the running event loop."""

    def time(self) -> float:
        """Seconds since some start."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Handle:
        """Call back at a time."""
        return asyncio.get_running_loop().call_at(when, callback)

    def stopwatch(self) -> float:
        """Seconds to measure by."""
        return time.perf_counter()


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads that several detectors of one process share."""

    decoding: Executor
    selecting: Executor

    @classmethod
    def start(cls, threads: int) -> "Pools":
        """`threads` that decode and letterbox, and one for NMS."""
        return cls(ThreadPoolExecutor(threads, "decode"), ThreadPoolExecutor(1, "select"))

    def close(self) -> None:
        """End the threads once they are idle, and drop what waits for them."""
        for executor in (self.decoding, self.selecting):
            executor.shutdown(wait=False, cancel_futures=True)


def find_model(settings: DetectionSettings, name: str) -> Model:
    """A model of the settings' store by its name; ModelError if there is none."""
    store = settings.model_store or models.default_store()
    return models.load(models.folder_of(store, name))


def open_detector(
    model: Model,
    settings: DetectionSettings,
    *,
    observer: Observer | None = None,
    pools: Pools | None = None,
) -> Detector:
    """A detector of one model. `await detector.close()` ends it, and threads that it started.

    It runs on the event loop that first calls it. `pools` are shared with other detectors and
    stay open. Raises ModelError for files that do not match their hashes, and StartError, with
    the reason, for a model or provider that does not work.

        settings = detection.settings.load(DetectionSettings, provider="cpu")
        detector = open_detector(find_model(settings, "sfd-640-mobilenetv2-mod2"), settings)
        [found] = await detector.detect_all([file.read_bytes()], Query(), deadline=math.inf)
        print(found.boxes, found.scores)
        await detector.close()
    """
    observer = observer or Observer()
    session = open_session(
        model,
        settings.provider,
        max(1, settings.threads // settings.workers),
        settings.max_batch,
    )
    log.info("model %s runs on %s", model.name, session.provider)
    # Of its own: in a pool that models share, a batch would wait behind another model's, where
    # neither deadlines nor the depth of the queue count.
    inferring = ThreadPoolExecutor(settings.workers, f"infer-{model.name}")
    own: list[Executor] = [inferring]
    if pools is None:
        pools = Pools.start(settings.threads)
        own += [pools.decoding, pools.selecting]
    return Detector(
        session=session,
        batcher=_batcher(session, settings, observer, inferring),
        max_pixels=settings.max_pixels,
        decoding=pools.decoding,
        selecting=pools.selecting,
        observer=observer,
        executors=own,
    )


def _batcher(
    session: Session, settings: DetectionSettings, observer: Observer, executor: Executor
) -> Batcher[Pixels, Predictions]:
    def infer(items: Sequence[Pixels]) -> Awaitable[Sequence[Predictions]]:
        return asyncio.get_running_loop().run_in_executor(executor, session.run, items)

    def failed(error: Exception) -> None:
        log.error("inference of %s failed: %s", session.model.name, error, exc_info=error)
        observer.inference_failed(session.model.name, error)

    return Batcher(
        infer=infer,
        clock=LoopClock(),
        max_batch=settings.max_batch,
        max_wait=settings.max_wait_ms / 1000,
        queue_limit=settings.queue_limit,
        workers=settings.workers,
        on_batch=observer.batch_started,
        on_failure=failed,
    )
