"""From a model folder to a detector, and the threads that it starts and ends."""

import asyncio
import json
import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from detection import opening, session
from detection.clock import LoopClock
from detection.detector import Detection, Detector, Query
from detection.errors import Overloaded, StartError
from detection.observer import Observer
from detection.opening import Pools, find_model, open_detector
from detection.predictions import Predictions
from detection.providers import ProviderName
from detection.session import Picture
from detection.settings import DetectionSettings
from store.model import ModelError

Cells = Callable[..., bytes]


def settings(store: Path, **options: Any) -> DetectionSettings:
    given: dict[str, Any] = {"threads": 1, "workers": 1, "max_batch": 8, "provider": "cpu"}
    given |= options
    return DetectionSettings(model_store=store, **given)


def opened(store: Path, pools: Pools | None = None, **options: Any) -> Detector:
    """A detector of the small model; `measure` and `target_wait` are not settings."""
    named = {name: options.pop(name) for name in ("measure", "target_wait") if name in options}
    configured = settings(store, **options)
    return open_detector(find_model(configured, "cells"), configured, pools=pools, **named)


def faces(detector: Detector, data: bytes) -> int:
    async def run() -> Any:
        (found,) = await detector.detect_all([data], Query(), deadline=math.inf)
        return found

    found = asyncio.run(run())
    assert isinstance(found, Detection)
    return len(found.scores)


def test_a_model_is_found_by_its_name(store: Path) -> None:
    assert find_model(settings(store), "others").title == "The same again"
    with pytest.raises(ModelError, match="no model 'nobody'"):
        find_model(settings(store), "nobody")


def test_the_log_says_that_another_version_built_a_model(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(store / "cells", tmp_path / "cells")
    record = tmp_path / "cells/build.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "wide": None}))
    with caplog.at_level(logging.INFO, "detection.opening"):
        asyncio.run(opened(store).close())
        assert "sfd models build" not in caplog.text
        asyncio.run(opened(tmp_path).close())
        assert "run `sfd models build cells`" in caplog.text


def test_a_command_in_bfloat16_opens_openvino_for_one_image(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The precision decides what `auto` is, also where nothing is measured."""
    providers: list[ProviderName] = []

    def tune(*_: object, provider: ProviderName, **__: object) -> NoReturn:
        providers.append(provider)
        raise StartError("enough")

    monkeypatch.setattr(opening, "tune", tune)
    monkeypatch.setattr(opening, "processor_features", lambda: {"avx512_bf16"})
    with pytest.raises(StartError, match="enough"):
        opened(store, provider="auto", precision="bfloat16")
    assert providers == [ProviderName.OPENVINO]


def test_a_closed_detector_has_ended_its_own_threads(store: Path, bright_cells: Cells) -> None:
    before = set(threading.enumerate())
    detector = opened(store)
    assert faces(detector, bright_cells(1, 2)) == 2
    own = set(threading.enumerate()) - before
    assert {thread.name.rpartition("_")[0] for thread in own} == {"infer-cells", "decode", "select"}
    asyncio.run(detector.close())
    for thread in own:
        thread.join(10)
        assert not thread.is_alive()


def test_a_closed_detector_leaves_shared_threads_running(store: Path, bright_cells: Cells) -> None:
    pools = Pools.start(settings(store), [find_model(settings(store), "cells")])
    one, other = opened(store, pools), opened(store, pools)
    assert faces(one, bright_cells(1)) == 1
    asyncio.run(one.close())
    assert faces(other, bright_cells(2, 3)) == 2
    asyncio.run(other.close())
    pools.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pools.decoding.submit(int)


def test_a_model_runs_as_many_batches_at_a_time_as_it_has_workers(store: Path) -> None:
    detector = opened(store, workers=3, max_batch=2, threads=4, max_wait_ms=7, queue_limit=50)
    assert (detector.plan.workers, detector.plan.threads, detector.plan.max_batch) == (3, 1, 2)
    batcher = detector.batcher
    assert (batcher.workers, batcher.max_batch, batcher.admission.queue_limit) == (3, 2, 50)
    assert batcher.max_wait == pytest.approx(0.007)
    barrier = threading.Barrier(3)
    # None of the three gets through if fewer than three run side by side.
    for waiting in [detector.inferring.submit(barrier.wait, 10) for _ in range(3)]:
        waiting.result()
    asyncio.run(detector.close())


def test_an_image_without_company_gets_the_threads_of_all_workers(
    store: Path, bright_cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    look = session.Session.look

    def noted(self: session.Session, pictures: Sequence[Picture]) -> list[Predictions]:
        threads.append(self.use.threads)
        return look(self, pictures)

    monkeypatch.setattr(session.Session, "look", noted)
    detector = opened(store, workers=2, max_batch=1, threads=4)

    async def run() -> None:
        for files in ([bright_cells(1)], [bright_cells(1), bright_cells(2, 3)]):
            found = await detector.detect_all(files, Query(), math.inf)
            counts = [len(each.scores) for each in found if isinstance(each, Detection)]
            assert counts == [1, 2][: len(files)]
        await detector.close()

    asyncio.run(run())
    # The last one is alone if the one before it has ended.
    assert threads[:2] == [4, 2]


class Began(Observer):
    """Notes when two batches have begun."""

    def __init__(self) -> None:
        self.batches = 0
        self.both = threading.Event()

    def batch_started(self, size: int) -> None:
        self.batches += 1
        if self.batches == 2:
            self.both.set()


def test_a_thread_begins_its_next_batch_while_the_event_loop_is_busy(store: Path) -> None:
    configured = settings(store, max_batch=1)
    began = Began()
    detector = open_detector(find_model(configured, "cells"), configured, observer=began)

    async def run() -> None:
        blank = Picture(detector.session.blank())
        with detector.batcher.reserve(2) as places:
            both = [asyncio.create_task(places.submit(blank, math.inf)) for _ in range(2)]
            # The tasks submit, and the batcher hands both batches to the thread.
            for _ in range(5):
                await asyncio.sleep(0)
            assert began.both.wait(30), "the thread waits for the event loop"
            await asyncio.gather(*both)
        await detector.close()

    asyncio.run(run())


def test_measurements_predict_the_wait_from_the_start(store: Path) -> None:
    detector = opened(store, workers="auto", max_batch="auto", measure=True, target_wait=1e-9)
    assert detector.plan.reason.startswith("measured: ")
    assert detector.batcher.admission.image_seconds == detector.plan.image_seconds > 0
    with detector.batcher.reserve(1), pytest.raises(Overloaded, match="longer than"):
        detector.batcher.check_room()
    asyncio.run(detector.close())


def test_a_commands_detector_refuses_no_image_because_of_the_wait(store: Path) -> None:
    detector = opened(store)
    detector.batcher.admission.image_seconds = 1e6
    with detector.batcher.reserve(100):
        detector.batcher.check_room()
    asyncio.run(detector.close())


@pytest.mark.parametrize(("cuda", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_a_fallback_is_a_warning_only_if_cuda_was_expected(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    cuda: bool, level: int,
) -> None:  # fmt: skip
    choose = session.choose
    monkeypatch.setattr(
        "detection.session.choose",
        lambda wanted, available, open_on: (*choose(wanted, (), open_on)[:2], "too old"),
    )
    monkeypatch.setattr(opening, "has_cuda", lambda: cuda)
    with caplog.at_level(logging.INFO, "detection.opening"):
        detector = opened(store, provider="auto")
    fallback, running = caplog.records
    assert (fallback.levelno, fallback.getMessage()) == (level, "cells: runs on the CPU: too old")
    assert (
        "model cells runs on cpu in float32: workers 1 with threads 1 each" in running.getMessage()
    )
    asyncio.run(detector.close())


def test_the_clock_is_the_loops_and_its_stopwatch_is_finer() -> None:
    clock = LoopClock()
    called: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert clock.time() == pytest.approx(loop.time(), abs=1)
        clock.call_at(clock.time() + 0.01, lambda: called.append(loop.time()))
        clock.call_at(clock.time() + 0.01, lambda: called.append(0)).cancel()
        started = clock.time()
        await asyncio.sleep(0.05)
        assert called
        assert called[0] >= started

    asyncio.run(run())
    assert len(called) == 1
    assert clock.stopwatch() == pytest.approx(time.perf_counter(), abs=1)
