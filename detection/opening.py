"""Makes a `Detector` from a model folder, without a server."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from detection.admission import Admission
from detection.batch import Take
from detection.batcher import Batcher
from detection.clock import LoopClock
from detection.decoding.limits import Limits
from detection.decoding.pixels import PixelMemory
from detection.decoding.pool import (
    Decoder,
    ProcessDecoder,
    ThreadDecoder,
    running,
    threads,
)
from detection.detector import Detector
from detection.observer import Observer
from detection.overload import Overload
from detection.precision import processor_features
from detection.predictions import Predictions
from detection.provider_choice import choose_provider
from detection.session import (
    Picture,
    Session,
    check_precision,
    has_cuda,
    open_second_look,
    open_session,
)
from detection.settings import DetectionSettings
from detection.tiles import MOST
from detection.tuning import Plan, tune
from detection.turns import Turns
from store import model as models
from store.model import Model
from store.places import locate

log = logging.getLogger(__name__)

MOST_PICTURES = 512
"""Pictures of waiting images in shared memory, at 1.2 MB each for 640 x 640 pixels."""


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads and processes that several detectors share."""

    decoder: Decoder
    decoding: Executor
    selecting: Executor

    @classmethod
    def start(
        cls,
        settings: DetectionSettings,
        models: Sequence[Model],
        on_end: Callable[[str], None] = lambda reason: None,
    ) -> "Pools":
        """The decoder that the settings name, for these models, and a thread for NMS.

        `on_end` is called, from any thread, when a decoder's process is stopped.
        """
        selecting = ThreadPoolExecutor(1, "select")
        if settings.decoding == "threads":
            return cls(ThreadDecoder(), ThreadPoolExecutor(settings.threads, "decode"), selecting)
        limits = Limits.of(settings.decode_cpu_s, settings.decode_memory, settings.max_pixels)
        largest = max(m.input.width * m.input.height * m.input.channels for m in models)
        waiting = min(settings.queue_limit * len(models), MOST_PICTURES)
        width = settings.threads
        # An image that is cut into tiles takes a slot for each.
        pixels = PixelMemory(largest, waiting, spare=running(width) * MOST)
        decoder = ProcessDecoder(width, limits, pixels, on_end)
        return cls(decoder, ThreadPoolExecutor(threads(width), "decode"), selecting)

    def close(self) -> None:
        """End the threads once they are idle, drop waiting tasks, and stop the decoder."""
        for executor in (self.decoding, self.selecting):
            executor.shutdown(wait=False, cancel_futures=True)
        self.decoder.close()


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
    before_measuring: Callable[[], object] = lambda: None,
    target_wait: float = math.inf,
) -> Detector:
    """A detector of one model. `await detector.close()` ends it, and threads that it started.

    It runs on the event loop that first calls it. `pools` are shared with other detectors and stay
    open. `measure` spends about half a second on measuring the settings that are "auto", more on a
    slow processor. That is worthwhile in a long-running process; `detector.session.warm_up({1})`
    then frees the memory that measuring took. Before that, it may call `before_measuring`, which
    waits for other work. An image that would wait longer than `target_wait` seconds is refused.
    Raises ModelError for files that do not match their hashes, and StartError, with the reason, for
    a model or provider that does not work.

        settings = detection.settings.load(DetectionSettings, provider="cpu")
        detector = open_detector(find_model(settings, "sfd-640-mobilenetv2-mod2"), settings)
        [found] = await detector.detect_all([file.read_bytes()], Query(), deadline=math.inf)
        print(found.boxes, found.scores)
        await detector.close()
    """
    observer = observer or Observer()

    choice = choose_provider(model, settings, measure=measure, before_measuring=before_measuring)
    build = models.check(model)
    if not build.is_latest:
        log.info(
            "%s: an earlier or later sfd built its ONNX files, which may be slower than those of "
            "this one: run `sfd models build %s`",
            model.name, model.name,
        )  # fmt: skip

    def open_model(threads: int, max_batch: int) -> Session:
        return open_session(
            model, choice.provider, threads, max_batch,
            streams=max(1, settings.threads // threads), precision=settings.precision,
            build=build, shares_arena=True,
        )  # fmt: skip

    session, plan = tune(
        settings,
        open_model,
        measure=measure,
        provider=check_precision(settings.precision, choice.provider, processor_features()),
        budget=choice.rest_s,
        before_measuring=before_measuring,
    )
    session, plan = choice.explain(session, plan)
    if settings.second_look:
        session = open_second_look(session)
    if session.fallback is not None:
        # Warn only if the installed runtime has CUDA: only then does the user expect a GPU.
        level = logging.WARNING if has_cuda() else logging.INFO
        log.log(level, "%s: runs on the CPU: %s", model.name, session.fallback)
    log.info(
        "model %s runs on %s in %s: %s",
        model.name, session.provider, session.precision, plan,
    )  # fmt: skip
    # Each model has its own pool. In a shared pool a batch would wait for another model's, and that
    # wait would count neither for deadlines nor for the depth of the queue.
    inferring = ThreadPoolExecutor(plan.workers, f"infer-{model.name}")
    used = pools or Pools.start(settings, [model])
    return Detector(
        session=session,
        plan=plan,
        batcher=_batcher(session, plan, settings, observer, inferring, target_wait),
        ahead=Turns(_ahead(plan, settings.threads), LoopClock()),
        max_pixels=settings.max_pixels,
        oversampling=settings.oversampling,
        decoder=used.decoder,
        decoding=used.decoding,
        selecting=used.selecting,
        inferring=inferring,
        observer=observer,
        close_pools=used.close if pools is None else lambda: None,
    )


def _ahead(plan: Plan, decoders: int) -> int:
    """How many images may be decoded before their inference ends.

    As many as are in inference, as many for the next batches, and two for each decoder, so that
    neither decoders nor workers are idle.
    """
    return 2 * plan.workers * plan.max_batch + 2 * decoders


def _batcher(
    session: Session,
    plan: Plan,
    settings: DetectionSettings,
    observer: Observer,
    executor: Executor,
    target_wait: float,
) -> Batcher[Picture, Predictions]:
    def infer(take: Take[Picture], alone: bool) -> Awaitable[Sequence[Predictions]]:
        chosen = (alone and session.lone) or session

        def work() -> Sequence[Predictions]:
            pictures = take()
            return chosen.look(pictures) if pictures else []

        return asyncio.get_running_loop().run_in_executor(executor, work)

    def failed(error: Exception) -> None:
        log.error("inference of %s failed: %s", session.model.name, error, exc_info=error)

    return Batcher(
        infer=infer,
        clock=LoopClock(),
        max_batch=plan.max_batch,
        max_wait=settings.max_wait_ms / 1000,
        workers=plan.workers,
        runs_alone=session.lone is not None,
        admission=Admission(settings.queue_limit, Overload(target_wait), plan.image_seconds),
        on_batch=observer.batch_started,
        on_failure=failed,
    )
