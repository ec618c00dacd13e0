"""Images wait as files, and are decoded shortly before inference can use them."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from detection import detector as detectors
from detection.decoding.job import Job
from detection.decoding.tasks import Prepare, Prepared
from detection.detector import Detection, Detector, Query
from detection.errors import InvalidImage, Timeout
from detection.opening import find_model, open_detector
from detection.predictions import Predictions
from detection.providers import ProviderName
from detection.session import Session
from detection.settings import DetectionSettings

Cells = Callable[..., bytes]
AHEAD = 4
"""For one worker, batches of one image, and one decoder."""


async def until(is_true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


class Gates:
    """A detector whose inference waits for a test, and that counts what was decoded."""

    def __init__(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = DetectionSettings(
            model_store=store, threads=1, workers=1, max_batch=1, provider=ProviderName.CPU,
            second_look=False,
        )  # fmt: skip
        self.detector: Detector = open_detector(find_model(settings, "cells"), settings)
        self.inference = threading.Event()
        self.slow = threading.Event()
        """Ends the decoding of the files in `slow_files`."""
        self.slow_files: set[bytes] = set()
        self.decoded: list[bytes] = []
        prepare, run = self.detector.decoder.prepare, Session.run

        def counted(task: Prepare, data: bytes, job: Job) -> Prepared:
            self.decoded.append(data)
            if data in self.slow_files:
                assert self.slow.wait(30)
            return prepare(task, data, job)

        def held(session: Session, images: Sequence[Any]) -> list[Predictions]:
            assert self.inference.wait(30)
            return run(session, images)

        monkeypatch.setattr(self.detector.decoder, "prepare", counted)
        monkeypatch.setattr(Session, "run", held)

    async def detect(self, data: bytes, deadline: float = math.inf) -> Any:
        """The answer for one file."""
        (found,) = await self.detector.detect_all([data], Query(), deadline=deadline)
        return found

    async def fill(self, data: bytes) -> list[asyncio.Task[Any]]:
        """Send a file as often as images are decoded ahead; no other is decoded after that."""
        tasks = [asyncio.create_task(self.detect(data)) for _ in range(AHEAD)]
        await self.until_decoded(AHEAD)
        return tasks

    async def until_decoded(self, count: int) -> None:
        """Wait until so many files were decoded, and see that no more are."""
        await until(lambda: len(self.decoded) >= count)
        await asyncio.sleep(0.1)
        assert len(self.decoded) == count


@pytest.fixture
def gates(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gates]:
    gates = Gates(store, monkeypatch)
    try:
        yield gates
    finally:
        gates.inference.set()
        gates.slow.set()
        asyncio.run(gates.detector.close())


def test_few_images_are_decoded_before_inference_takes_them(
    gates: Gates, bright_cells: Cells
) -> None:
    async def run() -> None:
        tasks = [asyncio.create_task(gates.detect(bright_cells(1, 2))) for _ in range(20)]
        await gates.until_decoded(AHEAD)
        # All but the one whose inference waits.
        await until(lambda: gates.detector.batcher.depth == 20 - 1)
        gates.inference.set()
        answers = await asyncio.gather(*tasks)
        assert [len(answer.scores) for answer in answers] == [2] * 20
        assert len(gates.decoded) == 20

    asyncio.run(run())


def test_images_are_decoded_in_the_order_in_which_they_came(
    gates: Gates, bright_cells: Cells
) -> None:
    files = [bright_cells(cell) for cell in range(10)]

    async def run() -> None:
        tasks = [asyncio.create_task(gates.detect(data)) for data in files]
        await gates.until_decoded(AHEAD)
        gates.inference.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert gates.decoded == files


def test_an_image_that_misses_its_deadline_is_never_decoded(
    gates: Gates, bright_cells: Cells
) -> None:
    late = bright_cells(9)

    async def run() -> None:
        tasks = await gates.fill(bright_cells(1))
        with pytest.raises(Timeout):
            await gates.detect(late, deadline=asyncio.get_running_loop().time() + 0.1)
        gates.inference.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert late not in gates.decoded
    assert gates.detector.batcher.depth == 0


def test_an_image_whose_client_leaves_is_never_decoded(gates: Gates, bright_cells: Cells) -> None:
    left = bright_cells(9)

    async def run() -> None:
        tasks = await gates.fill(bright_cells(1))
        leaving = asyncio.create_task(gates.detect(left))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        tasks.append(asyncio.create_task(gates.detect(bright_cells(2))))
        gates.inference.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert left not in gates.decoded
    assert gates.detector.batcher.depth == 0


def test_a_broken_image_lets_the_next_one_be_decoded(gates: Gates, bright_cells: Cells) -> None:
    async def run() -> None:
        broken = [await gates.detect(b"GIF89a nothing else") for _ in range(2 * AHEAD)]
        assert all(isinstance(each, InvalidImage) for each in broken)
        gates.inference.set()
        assert isinstance(await gates.detect(bright_cells(3)), Detection)

    asyncio.run(run())


def test_images_that_take_long_to_decode_do_not_hold_others_back(
    gates: Gates, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectors, "SLOW_S", 0.05)
    gates.slow_files = {bright_cells(cell) for cell in range(AHEAD)}
    gates.inference.set()

    async def run() -> None:
        slow = [asyncio.create_task(gates.detect(data)) for data in gates.slow_files]
        await gates.until_decoded(AHEAD)
        quick = await asyncio.wait_for(gates.detect(bright_cells(7)), 20)
        assert len(quick.scores) == 1
        assert not any(task.done() for task in slow)
        gates.slow.set()
        answers = await asyncio.gather(*slow)
        assert [len(answer.scores) for answer in answers] == [1] * AHEAD

    asyncio.run(run())
