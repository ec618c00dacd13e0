"""Image files to faces: decoding and letterboxing in threads, the batcher, thresholds and NMS.

Used by the HTTP routes and by `sfd detect` alike.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geometry.boxes import Floats, clip
from geometry.letterbox import Letterbox
from geometry.nms import nms
from service import images
from service.batcher import Batcher, Reservation
from service.errors import Problem, Timeout
from service.letterboxing import Pixels, letterbox
from service.metrics import Metrics
from service.network import Candidates, Network
from service.timings import Timings
from store.model import Thresholds

T = TypeVar("T")
Places = Reservation[Pixels, Candidates]


@dataclass(frozen=True, slots=True)
class Query:
    """What the caller wants other than the model's own thresholds; None means the model's."""

    min_score: float | None = None
    nms_iou: float | None = None
    max_faces: int | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """The faces of one image, best first.

    `boxes` [faces, 4] as x1, y1, x2, y2 in pixels of the upright image of `width` x `height`,
    clipped to it; `scores` [faces] in 0-1.
    """

    width: int
    height: int
    boxes: Floats
    scores: Floats
    timings: Timings
    batch_size: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as the network takes it, where the picture lies in it, and seconds spent."""

    pixels: Pixels
    placement: Letterbox
    decode: float
    preprocess: float


@dataclass(frozen=True, eq=False)
class Detector:
    """One model, ready to find faces in image files."""

    network: Network
    batcher: Batcher[Pixels, Candidates]
    metrics: Metrics
    max_pixels: int
    decoding: Executor
    """Threads that decode and letterbox."""
    selecting: Executor
    """The thread of NMS: apart, so that no face waits behind another image's decoding."""

    async def detect(self, data: bytes, query: Query, deadline: float, places: Places) -> Detection:
        """The faces of one image file, using one of the reserved `places`.

        `deadline` is a time of the event loop's clock. Raises Problem: InvalidImage and its
        siblings, Timeout, InferenceFailed.
        """
        started = time.perf_counter()
        try:
            prepared = await _until(deadline, self._in(self.decoding, self.prepare, data))
        except BaseException:
            places.give_up()
            raise
        waited = time.perf_counter() - started - prepared.decode - prepared.preprocess
        answer = await places.submit(prepared.pixels, deadline)

        selecting = time.perf_counter()
        boxes, scores = await self._in(
            self.selecting, self.select, answer.result, prepared.placement, query
        )
        ended = time.perf_counter()
        timings = Timings(
            decode=prepared.decode,
            preprocess=prepared.preprocess,
            queue=max(waited, 0) + answer.queued,
            inference=answer.inference,
            postprocess=ended - selecting,
            total=ended - started,
        )
        box = prepared.placement
        self.metrics.observe(timings)
        self.metrics.faces.inc(len(scores))
        self.metrics.image_pixels.observe(box.image_width * box.image_height)
        return Detection(
            box.image_width, box.image_height, boxes, scores, timings, answer.batch_size
        )

    async def detect_all(
        self, files: Sequence[bytes | Problem], query: Query, deadline: float
    ) -> list[Detection | Problem]:
        """The faces of each file in order, or its problem; places for all are taken first.

        A file that is already a Problem stays one. Raises Overloaded.
        """
        good = sum(not isinstance(data, Problem) for data in files)
        with self.batcher.reserve(good) as places:

            async def one(data: bytes | Problem) -> Detection | Problem:
                if isinstance(data, Problem):
                    return data
                try:
                    return await self.detect(data, query, deadline, places)
                except Problem as problem:
                    return problem

            return await asyncio.gather(*map(one, files))

    def prepare(self, data: bytes) -> Prepared:
        """Decode and letterbox an image file; takes a thread for a while."""
        model = self.network.model.input
        started = time.perf_counter()
        image = images.decode(data, max_pixels=self.max_pixels, background=model.mean_rgb)
        decoded = time.perf_counter()
        pixels, placement = letterbox(
            image, model.width, model.height, model.channels, model.mean_rgb
        )
        return Prepared(pixels, placement, decoded - started, time.perf_counter() - decoded)

    def select(
        self, candidates: Candidates, placement: Letterbox, query: Query
    ) -> tuple[Floats, Floats]:
        """Boxes [faces, 4] in pixels of the image, and scores [faces], of one network answer."""
        thresholds = self.network.model.thresholds
        kept = faces_of(candidates, thresholds, query)
        boxes = placement.to_image(candidates.boxes[kept])
        boxes = clip(boxes, placement.image_width, placement.image_height)
        # A box wholly in the padding is none of the image.
        inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return boxes[inside][: query.max_faces], candidates.scores[kept][inside][: query.max_faces]

    async def _in(self, executor: Executor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)


def faces_of(candidates: Candidates, thresholds: Thresholds, query: Query) -> NDArray[np.int64]:
    """Indices of the candidates that are faces, best first, in Caffe's order of steps.

    `DetectionOutput`: scores above the confidence threshold (strictly), the best top_k of them,
    NMS, the best keep_top_k.
    """
    min_score = thresholds.default_score if query.min_score is None else query.min_score
    nms_iou = thresholds.nms_iou if query.nms_iou is None else query.nms_iou
    scores = candidates.scores
    above = np.flatnonzero(scores > np.float32(min_score))
    kept = nms(
        candidates.boxes[above], scores[above], nms_iou, thresholds.top_k, thresholds.keep_top_k
    )
    return above[kept]


async def _until(deadline: float, work: Coroutine[object, object, T]) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise Timeout("the deadline of the request passed") from None
