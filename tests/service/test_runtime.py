"""The parts that models in one process share, and those that they don't."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from detection.detector import Detection, Query
from detection.letterbox import Pixels
from detection.predictions import Predictions
from detection.session import Session
from service import runtime
from service.settings import Settings


def test_models_are_ready_once_all_are_and_until_draining(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = runtime.load(Settings(model_store=store, models=("cells", "others"), threads=1))
    seen: list[list[float]] = []

    def ready() -> list[float]:
        (family,) = loaded.metrics.model_ready.collect()
        return sorted(sample.value for sample in family.samples)

    monkeypatch.setattr(Session, "warm_up", lambda *_, **__: seen.append(ready()))
    asyncio.run(loaded.warm_up())
    assert seen == [[0, 0], [0, 0]]
    assert ready() == [1, 1]
    loaded.start_draining()
    assert ready() == [0, 0]
    asyncio.run(loaded.warm_up())
    assert ready() == [0, 0]


def test_a_busy_model_never_delays_another(
    serve: Any, bright_cells: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    run = Session.run

    def slow(self: Session, items: Sequence[Pixels]) -> Sequence[Predictions]:
        if self.model.name == "cells":
            began.set()
            assert go_on.wait(20)
        return run(self, items)

    with serve(models=("cells", "others"), workers=1) as client, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Session, "run", slow)
        busy = pool.submit(client.post, "/detect?model=cells", content=bright_cells(1))
        assert began.wait(20)
        try:
            other = client.post("/detect?model=others", content=bright_cells(2, 3))
        finally:
            go_on.set()
        assert other.status_code == 200
        assert len(other.json()["faces"]) == 2
        assert busy.result(20).status_code == 200


def test_auto_settings_are_measured_and_shown(serve: Any) -> None:
    with serve(workers="auto", max_batch="auto", threads=2) as client:
        model = client.get("/models").json()["models"][0]
        metrics = client.get("/metrics").text
    assert model["plan"].startswith("measured: ")
    assert model["workers"] * model["threads"] == 2
    assert model["max_batch"] in (1, 2, 4, 8)
    assert f'sfd_model_workers{{model="cells"}} {model["workers"]}.0' in metrics
    assert f'sfd_model_max_batch{{model="cells"}} {model["max_batch"]}.0' in metrics
    assert 'sfd_predicted_wait_seconds{model="cells"} 0.0' in metrics


def test_explicit_settings_are_shown_as_set(serve: Any) -> None:
    with serve(workers=2, max_batch=3, threads=2) as client:
        model = client.get("/models").json()["models"][0]
    assert (model["workers"], model["threads"], model["max_batch"]) == (2, 1, 3)
    assert model["lone_threads"] == 2
    assert model["plan"] == "as set"


def test_other_servers_finish_their_requests_before_the_detectors_end(
    settings: Callable[..., Settings], bright_cells: Callable[..., bytes]
) -> None:
    loaded = runtime.load(settings())
    found: list[object] = []

    async def finish() -> None:
        assert loaded.draining
        deadline = asyncio.get_running_loop().time() + 20
        found.extend(await loaded.default.detect_all([bright_cells(1)], Query(), deadline))

    async def close() -> None:
        loaded.before_close.append(finish)
        await loaded.close()

    asyncio.run(close())
    assert [type(each) for each in found] == [Detection]
