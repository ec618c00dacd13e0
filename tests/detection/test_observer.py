"""What a detector tells its observer: each image, each batch, each failure."""

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
from detection.providers import ProviderName
from detection.session import Predictions, Session
from detection.settings import DetectionSettings

Cells = Callable[..., bytes]


class Recorder(Observer):
    def __init__(self) -> None:
        self.done: list[ImageDone] = []
        self.batches: list[int] = []
        self.failures: list[tuple[str, str]] = []

    def image_done(self, done: ImageDone) -> None:
        self.done.append(done)

    def batch_started(self, size: int) -> None:
        self.batches.append(size)

    def inference_failed(self, model: str, error: Exception) -> None:
        self.failures.append((model, str(error)))


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


def test_the_observer_sees_each_image_and_each_batch(store: Path, bright_cells: Cells) -> None:
    recorder = Recorder()
    files = [bright_cells(1, 2, size=128), b"no image", bright_cells(3)]
    detect(store, recorder, files, Query())
    large, small = sorted(recorder.done, key=lambda done: -done.faces)
    assert (large.model, large.width, large.height) == ("cells", 128, 128)
    assert (large.tiles, large.faces, small.faces) == (1, 2, 1)
    assert sum(recorder.batches) == 2
    assert {done.batch_size for done in recorder.done} <= set(recorder.batches)
    assert recorder.failures == []
    for done in recorder.done:
        assert 0 <= done.waited <= done.timings.queue
        assert done.timings.total >= done.timings.decode > 0


def test_the_observer_sees_all_tiles_of_an_image(store: Path, bright_cells: Cells) -> None:
    recorder = Recorder()
    detect(store, recorder, [bright_cells(5, size=128)], Query(tiles=True))
    (done,) = recorder.done
    assert done.tiles > 1
    assert sum(recorder.batches) == done.tiles
    assert done.batch_size == max(recorder.batches)


def test_the_observer_sees_a_failure_of_the_model_with_its_error(
    store: Path, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Session, images: Sequence[Pixels]) -> list[Predictions]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Session, "run", fail)
    recorder = Recorder()
    (found,) = detect(store, recorder, [bright_cells(1)], Query())
    assert isinstance(found, InferenceFailed)
    assert recorder.failures == [("cells", "out of memory")]
    assert recorder.done == []


def test_without_an_observer_nothing_is_needed(store: Path, bright_cells: Cells) -> None:
    (found,) = detect(store, Observer(), [bright_cells(1)], Query())
    assert not isinstance(found, Exception)
