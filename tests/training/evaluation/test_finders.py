"""A model in this process and the same model behind a service find the same faces."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from service import runtime, settings
from service.app import create_app
from sfd.errors import SfdError
from training.evaluation import truth
from training.evaluation.finders import EvaluationError, Local, Remote


@pytest.fixture(scope="module")
def url(store: Path) -> Iterator[str]:
    loaded = runtime.load(
        settings.load(models=(), default_model="small", model_store=store, provider="cpu")
    )
    # It is warm enough for a test.
    loaded.ready = True
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(loaded), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    for executor in loaded.executors:
        executor.shutdown()
    listener.close()


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "tiles"])
def test_a_service_finds_what_its_detector_finds(
    store: Path, photographs: Path, url: str, tiles: bool
) -> None:
    files = truth.read(photographs / "list.jsonl", photographs).files
    local = Local.open("small", store, "cpu", tiles=tiles)
    remote = Remote.open(url + "/", "small", None, tiles=tiles)
    assert (remote.name, remote.version) == (local.name, local.version)
    assert remote.default_score == local.default_score
    ticks: list[int] = []
    here = local.find(files, 0.3, ticks.append)
    assert sum(ticks) == len(files)
    there = remote.find(files, 0.3, lambda _: None)
    assert sum(len(each.scores) for each in here) > 3
    for one, other in zip(here, there, strict=True):
        assert len(one.scores) == len(other.scores)
        assert np.allclose(one.boxes, other.boxes, atol=0.02)
        assert np.allclose(one.scores, other.scores, atol=1e-4)


def test_a_service_without_the_model_is_refused(url: str) -> None:
    with pytest.raises(EvaluationError, match="no model 'other'"):
        Remote.open(url, "other", None)


def test_no_service_is_one_line() -> None:
    with pytest.raises(EvaluationError, match="no answer"):
        Remote.open("http://127.0.0.1:9", None, None)


def test_a_broken_image_is_named(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(EvaluationError, match=r"broken\.jpg"):
        Local.open("small", store, "cpu").find([path], 0.3, lambda _: None)


def test_an_unknown_model_is_refused(store: Path) -> None:
    with pytest.raises(SfdError, match="no model"):
        Local.open("other", store, "cpu")
