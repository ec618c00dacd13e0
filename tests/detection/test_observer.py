"""What a detector tells its observer: each image and each batch."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from detection.detector import Query
from detection.errors import InferenceFailed
from detection.letterbox import Pixels
from detection.observer import ImageDone, Observer
from detection.opening import find_model, open_detector
from detection.predictions import Predictions
from detection.providers import ProviderName
from detection.session import Session
from detection.settings import DetectionSettings

Cells = Callable[..., bytes]


class Recorder(Observer):
    def __init__(self) -> None:
        self.done: list[ImageDone] = []
        self.batches: list[int] = []

    def image_done(self, done: ImageDone) -> None:
        self.done.append(done)

    def batch_started(self, size: int) -> None:
        self.batches.append(size)


def detect(store: Path, observer: Observer, files: list[bytes], query: Query) -> list[object]:
    settings = DetectionSettings(
        model_store=store, threads=1, workers=1, max_batch=8, provider=ProviderName.CPU
    )
    detector = open_detector(find_model(settings, "cells"), settings, observer=observer)

    async def run() -> list[object]:
        found: list[object] = list(await detector.detect_all(files, query, math.inf))
        await detector.close()
        return found

    return asyncio.run(run())


def test_each_image_and_each_batch_is_reported(store: Path, bright_cells: Cells) -> None:
    recorder = Recorder()
    files = [bright_cells(1, 2, size=128), b"no image", bright_cells(3)]
    detect(store, recorder, files, Query())
    large, small = sorted(recorder.done, key=lambda done: -done.faces)
    assert (large.model, large.width, large.height) == ("cells", 128, 128)
    assert (large.tiles, large.faces, small.faces) == (1, 2, 1)
    assert sum(recorder.batches) == 2
    assert {done.batch_size for done in recorder.done} <= set(recorder.batches)
    for done in recorder.done:
        assert 0 <= done.waited <= done.timings.queue
        assert done.timings.total >= done.timings.decode > 0


def test_all_tiles_of_an_image_are_reported(store: Path, bright_cells: Cells) -> None:
    recorder = Recorder()
    detect(store, recorder, [bright_cells(5, size=128)], Query(tiles=True))
    (done,) = recorder.done
    assert done.tiles > 1
    assert sum(recorder.batches) == done.tiles
    assert done.batch_size == max(recorder.batches)


def test_an_image_on_which_the_model_fails_is_not_reported(
    store: Path, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Session, images: Sequence[Pixels]) -> list[Predictions]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Session, "run", fail)
    recorder = Recorder()
    (found,) = detect(store, recorder, [bright_cells(1)], Query())
    assert isinstance(found, InferenceFailed)
    assert recorder.done == []


def test_an_observer_is_optional(store: Path, bright_cells: Cells) -> None:
    (found,) = detect(store, Observer(), [bright_cells(1)], Query())
    assert not isinstance(found, Exception)
