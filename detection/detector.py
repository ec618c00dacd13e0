"""Image files to faces: decoding and letterboxing by a decoder, the batcher, thresholds and NMS.

`detection.opening` makes a `Detector`; the HTTP routes, `sfd detect` and `sfd evaluate` use it.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from detection.batcher import Batcher, Reservation
from detection.deadline import until
from detection.decoding.job import Job
from detection.decoding.pool import Decoder
from detection.decoding.tasks import Crop, Draw, Prepare, Prepared
from detection.errors import RequestError, Timeout
from detection.observer import ImageDone, Observer
from detection.predictions import Predictions
from detection.rendering import Style
from detection.session import Picture, Session
from detection.tiles import MOST, gather
from detection.timings import Timings
from detection.tuning import Plan
from detection.turns import Turn, Turns
from geometry.arrays import I64, Floats
from geometry.boxes import clip
from geometry.nms import nms
from store.model import Thresholds

SLOW_S = 0.5
"""An image that takes longer than this to decode passes its turn on."""

T = TypeVar("T")
Work = TypeVar("Work", Prepare, Draw | Crop)


@dataclass(frozen=True, slots=True)
class Query:
    """The caller's thresholds; None means the model's own."""

    min_score: float | None = None
    nms_iou: float | None = None
    max_faces: int | None = None
    min_size: float = 0.0
    """Least width and height of a face, in pixels."""
    tiles: bool = False
    """Whether to search tiles of a large image too."""


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

    def as_dict(self) -> dict[str, Any]:
        """The members that every JSON answer has: image, faces, timings_ms, batch_size.

        A thousandth of a pixel: rounding must not cost a face of two pixels a percent of its area.
        """
        return {
            "image": {"width": self.width, "height": self.height},
            "faces": [
                {
                    "box": {
                        "x": round(x1, 3),
                        "y": round(y1, 3),
                        "width": round(x2 - x1, 3),
                        "height": round(y2 - y1, 3),
                    },
                    "score": round(score, 4),
                }
                for (x1, y1, x2, y2), score in zip(
                    self.boxes.tolist(), self.scores.tolist(), strict=True
                )
            ],
            "timings_ms": self.timings.milliseconds(),
            "batch_size": self.batch_size,
        }


@dataclass(frozen=True, eq=False)
class Detector:
    """One model, ready to find faces in image files."""

    session: Session
    plan: Plan
    """How the model is run, and why."""
    batcher: Batcher[Picture, Predictions]
    ahead: Turns
    """The turns of images without tiles, from before decoding to the end of inference. The others
    wait as files: a decoded one takes a megabyte or more, and is useless if its client leaves."""
    max_pixels: int
    oversampling: int | None
    """See `Prepare`."""
    decoder: Decoder
    """Does the work on image files."""
    decoding: Executor
    """Threads that ask the decoder, which blocks."""
    selecting: Executor
    """The thread of NMS, a separate one, so that NMS never waits behind decoding."""
    inferring: Executor
    """The threads of inference, of this detector alone."""
    observer: Observer = field(default_factory=Observer)
    """Called for each finished image."""
    close_pools: Callable[[], object] = lambda: None
    """Ends the other threads and processes, if only this detector uses them."""

    async def detect(
        self,
        data: bytes,
        query: Query,
        deadline: float,
        places: Reservation[Picture, Predictions],
        most_tiles: int,
    ) -> Detection:
        """The faces of one image file, using one of the reserved `places`, or one for each tile.

        `deadline` is a time of the event loop's clock. Raises RequestError: InvalidImage and its
        siblings, Timeout, InferenceFailed.
        """
        started = time.perf_counter()
        async with AsyncExitStack() as until_inferred:
            try:
                if most_tiles == 1:
                    turn = await until_inferred.enter_async_context(self.ahead.turn(deadline))
                    prepared = await self._prepare_within(turn, data, deadline)
                else:
                    # The batcher holds tiles back.
                    prepared = await self.prepare(data, most_tiles, deadline)
                places.extend(len(prepared.pictures) - 1, deadline)
            except BaseException:
                places.give_up()
                raise
            waited = time.perf_counter() - started - prepared.decode - prepared.preprocess
            # Of tiles, only the whole image: a face that fills a tile is smaller in a coarser one.
            pictures = [
                Picture(pixels, second_look=index == 0)
                for index, pixels in enumerate(prepared.pictures)
            ]
            answers = await places.submit_all(pictures, deadline)

        selecting = time.perf_counter()
        boxes, scores = await self._in(
            self.selecting, self.select, [each.result for each in answers], prepared, query
        )
        ended = time.perf_counter()
        queued = min(each.queued for each in answers)
        timings = Timings(
            decode=prepared.decode,
            preprocess=prepared.preprocess,
            queue=max(waited, 0) + queued,
            # For tiles: from the start of the first inference to the end of the last.
            inference=max(each.queued + each.inference for each in answers) - queued,
            postprocess=ended - selecting,
            total=ended - started,
        )
        whole = prepared.tiles[0]
        batch_size = max(each.batch_size for each in answers)
        self.observer.image_done(
            ImageDone(
                model=self.session.model.name,
                width=whole.width,
                height=whole.height,
                tiles=len(answers),
                faces=len(scores),
                batch_size=batch_size,
                looks=max(each.result.looks for each in answers),
                timings=timings,
                waited=max(waited, 0),
            )
        )
        return Detection(whole.width, whole.height, boxes, scores, timings, batch_size)

    async def detect_all(
        self, files: Sequence[bytes | RequestError], query: Query, deadline: float
    ) -> list[Detection | RequestError]:
        """The faces of each file in order, or its problem; places for all are taken first.

        A file that is already a RequestError is returned as it is. Tiled images are processed one
        after the other, so that one request does not fill the queue. Raises Overloaded, and Timeout
        if the deadline passes before all files have been processed.
        """
        good = sum(not isinstance(data, RequestError) for data in files)
        most_tiles = self._most_tiles(good) if query.tiles else 1
        with self.batcher.reserve(good, at_once=not query.tiles, deadline=deadline) as places:

            async def one(data: bytes | RequestError) -> Detection | RequestError:
                if isinstance(data, RequestError):
                    return data
                if query.tiles:
                    places.begin()
                try:
                    return await self.detect(data, query, deadline, places, most_tiles)
                except RequestError as problem:
                    return problem

            if query.tiles:
                found = [await one(data) for data in files]
            else:
                found = await asyncio.gather(*map(one, files))
        for each in found:
            # The deadline is the request's, not the file's. All have ended by now.
            if isinstance(each, Timeout):
                raise each
        return found

    async def close(self) -> None:
        """Finish the accepted requests, then end the threads and processes."""
        await self.batcher.drain()
        self.inferring.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.close_pools)

    async def prepare(self, data: bytes, most_tiles: int, deadline: float) -> Prepared:
        """Decode, cut and letterbox an image file. Raises RequestError."""
        model = self.session.model.input
        task = Prepare(
            model.width,
            model.height,
            model.channels,
            model.mean_rgb,
            self.max_pixels,
            most_tiles,
            self.oversampling,
        )
        return await self._decode(self.decoder.prepare, task, data, deadline)

    async def _prepare_within(self, turn: Turn, data: bytes, deadline: float) -> Prepared:
        """`prepare`, without tiles. The turn is passed on if that takes long."""
        clock = self.batcher.clock
        overdue = clock.call_at(clock.time() + SLOW_S, turn.pass_on)
        try:
            return await self.prepare(data, 1, deadline)
        finally:
            overdue.cancel()

    async def draw(
        self, data: bytes, found: Detection, style: Style, kind: str, deadline: float
    ) -> bytes:
        """The picture of an image file with its faces drawn or hidden, as a file.

        `kind` is Pillow's name of the format: PNG, JPEG or another that it can write. The file is
        decoded a second time: kept in memory, every decoded image in the queue would take as much
        memory as its pixels. Raises RequestError.
        """
        task = Draw(
            found.boxes.tolist(),
            found.scores.tolist(),
            style,
            kind,
            self.session.model.input.mean_rgb,
            self.max_pixels,
        )
        (picture,) = await self._decode(self.decoder.make, task, data, deadline)
        return picture

    async def crop(
        self,
        data: bytes,
        found: Detection,
        *,
        margin: float,
        size: int,
        most_bytes: int,
        deadline: float,
    ) -> list[bytes]:
        """A JPEG file of each face of an image file; see `detection.crops.cut`.

        No further one is cut when they have more than `most_bytes`. Raises RequestError.
        """
        background = self.session.model.input.mean_rgb
        task = Crop(found.boxes.tolist(), margin, size, most_bytes, background, self.max_pixels)
        return await self._decode(self.decoder.make, task, data, deadline)

    async def _decode(
        self, work: Callable[[Work, bytes, Job], T], task: Work, data: bytes, deadline: float
    ) -> T:
        """Do a task in a thread that waits for the decoder."""
        remaining = deadline - asyncio.get_running_loop().time()
        job = Job(expires=time.monotonic() + remaining)
        try:
            # The log lines of the thread have the request's id.
            run = contextvars.copy_context().run
            return await until(deadline, self._in(self.decoding, run, work, task, data, job))
        finally:
            job.over.set()

    def group(self, most: int, query: Query) -> int:
        """How many files a caller should submit at a time, at most `most`.

        With tiles it is one: the tiles of one image fill the batches.
        """
        return 1 if query.tiles else min(most, self.batcher.admission.queue_limit)

    def _most_tiles(self, images: int) -> int:
        """The most tiles for each image of a request, so that all of them fit the queue.

        At most half the queue, so that other requests get in too.
        """
        limit = self.batcher.admission.queue_limit
        return max(1, min(MOST, limit // 2, limit - images + 1))

    def select(
        self, candidates: Sequence[Predictions], prepared: Prepared, query: Query
    ) -> tuple[Floats, Floats]:
        """Boxes [faces, 4] in pixels of the image and scores [faces] from the network's outputs."""
        whole = prepared.tiles[0]
        thresholds = self.session.model.thresholds
        if len(candidates) == 1:
            kept = faces_of(candidates[0], thresholds, query)
            boxes = prepared.placements[0].to_image(candidates[0].boxes[kept])
            scores = candidates[0].scores[kept]
        else:
            merged = self._merge(candidates, prepared, min_score_of(thresholds, query))
            kept = faces_of(merged, thresholds, query)
            boxes, scores = merged.boxes[kept], merged.scores[kept]
        boxes = clip(boxes, whole.width, whole.height)
        # A box that lies in the padding is not in the image.
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = (sides > 0).all(axis=1) & (sides >= query.min_size).all(axis=1)
        return boxes[inside][: query.max_faces], scores[inside][: query.max_faces]

    def _merge(
        self, candidates: Sequence[Predictions], prepared: Prepared, min_score: float
    ) -> Predictions:
        """The predictions of all tiles above a score, with boxes in pixels of the image."""
        found = []
        for each, placement in zip(candidates, prepared.placements, strict=True):
            above = np.flatnonzero(each.scores > np.float32(min_score))
            found.append((placement.to_image(each.boxes[above]), each.scores[above]))
        model = self.session.model.input
        return Predictions(*gather(prepared.tiles, found, model.width, model.height))

    async def _in(self, executor: Executor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work, *arguments)


def faces_of(candidates: Predictions, thresholds: Thresholds, query: Query) -> I64:
    """Indices of the candidates that are faces, best first, in Caffe's order of steps.

    `DetectionOutput`: scores above the confidence threshold (strictly), the best top_k of them,
    NMS, the best keep_top_k.
    """
    min_score = min_score_of(thresholds, query)
    nms_iou = thresholds.nms_iou if query.nms_iou is None else query.nms_iou
    scores = candidates.scores
    above = np.flatnonzero(scores > np.float32(min_score))
    kept = nms(
        candidates.boxes[above], scores[above], nms_iou, thresholds.top_k, thresholds.keep_top_k
    )
    return above[kept]


def min_score_of(thresholds: Thresholds, query: Query) -> float:
    """The score above which a candidate is a face."""
    return thresholds.default_score if query.min_score is None else query.min_score
