"""Makes a `Detector` from a model folder, without a server."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from detection.batcher import Batcher, Handle
from detection.detector import Detector
from detection.letterbox import Pixels
from detection.observer import Observer
from detection.session import Predictions, Session, has_cuda, open_session
from detection.settings import DetectionSettings
from detection.tuning import Plan, tune
from store import model as models
from store.model import Model
from store.places import locate

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
        """Seconds for measuring."""
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
        """End the threads once they are idle, and drop waiting tasks."""
        for executor in (self.decoding, self.selecting):
            executor.shutdown(wait=False, cancel_futures=True)


def find_model(settings: DetectionSettings, name: str) -> Model:
    """A model of the settings' store by its name; ModelError if there is none."""
    return models.load(locate(name, settings.model_store))


def open_detector(
    model: Model,
    settings: DetectionSettings,
    *,
    observer: Observer | None = None,
    pools: Pools | None = None,
    measure: bool = False,
    target_wait: float = math.inf,
) -> Detector:
    """A detector of one model. `await detector.close()` ends it, and threads that it started.

    It runs on the event loop that first calls it. `pools` are shared with other detectors and stay
    open. `measure` spends half a second on measuring the settings that are "auto", which is
    worthwhile in a long-running process. An image that would wait longer than `target_wait` seconds
    is refused. Raises ModelError for files that do not match their hashes, and StartError, with the
    reason, for a model or provider that does not work.

        settings = detection.settings.load(DetectionSettings, provider="cpu")
        detector = open_detector(find_model(settings, "sfd-640-mobilenetv2-mod2"), settings)
        [found] = await detector.detect_all([file.read_bytes()], Query(), deadline=math.inf)
        print(found.boxes, found.scores)
        await detector.close()
    """
    observer = observer or Observer()

    def open_model(threads: int, max_batch: int) -> Session:
        return open_session(model, settings.provider, threads, max_batch)

    session, plan = tune(settings, open_model, measure=measure)
    if session.fallback is not None:
        # Warn only if the installed runtime has CUDA: only then does the user expect a GPU.
        level = logging.WARNING if has_cuda() else logging.INFO
        log.log(level, "%s: runs on the CPU: %s", model.name, session.fallback)
    log.info(
        "model %s runs on %s: workers %d with threads %d each, batches of up to %d (%s)",
        model.name, session.provider, plan.workers, plan.threads, plan.max_batch, plan.reason,
    )  # fmt: skip
    # Each model has its own pool. In a shared pool a batch would wait for another model's, and that
    # wait would count neither for deadlines nor for the depth of the queue.
    inferring = ThreadPoolExecutor(plan.workers, f"infer-{model.name}")
    own: list[Executor] = [inferring]
    if pools is None:
        pools = Pools.start(settings.threads)
        own += [pools.decoding, pools.selecting]
    return Detector(
        session=session,
        plan=plan,
        batcher=_batcher(session, plan, settings, observer, inferring, target_wait),
        max_pixels=settings.max_pixels,
        reduced_decoding=settings.reduced_decoding,
        decoding=pools.decoding,
        selecting=pools.selecting,
        observer=observer,
        executors=own,
    )


def _batcher(
    session: Session,
    plan: Plan,
    settings: DetectionSettings,
    observer: Observer,
    executor: Executor,
    target_wait: float,
) -> Batcher[Pixels, Predictions]:
    def infer(items: Sequence[Pixels]) -> Awaitable[Sequence[Predictions]]:
        return asyncio.get_running_loop().run_in_executor(executor, session.run, items)

    def failed(error: Exception) -> None:
        log.error("inference of %s failed: %s", session.model.name, error, exc_info=error)
        observer.inference_failed(session.model.name, error)

    return Batcher(
        infer=infer,
        clock=LoopClock(),
        max_batch=plan.max_batch,
        max_wait=settings.max_wait_ms / 1000,
        queue_limit=settings.queue_limit,
        workers=plan.workers,
        target_wait=target_wait,
        image_seconds=plan.image_seconds,
        on_batch=observer.batch_started,
        on_failure=failed,
    )
