"""A small real model in a store and in a service, and a few photographs with marked faces."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from convert.conversion import Options
from convert.outputs.kinds import Kind
from service import runtime, settings
from service.app import create_app
from store.add import add

PHOTOGRAPHS = 6


@pytest.fixture(scope="session")
def store(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the published sfd-320-mod11g as `small`."""
    folder = tmp_path_factory.mktemp("evaluated") / "model_store"
    folder.mkdir()
    source = shared / "models/upstream/sfd-320-mod11g"
    options = Options(output=Kind.HEADS, verify=False)
    add(folder, "small", source / "deploy.prototxt", source / "weights.caffemodel", options=options)
    return folder


@pytest.fixture(scope="session")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `list.jsonl`, the photographs it names, one more that is not there."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = [json.loads(line) for line in (shared / "faces/test.jsonl").read_text().splitlines()]
    marked = [line for line in lines if line["boxes"]][:PHOTOGRAPHS]
    for line in marked:
        copy = folder / line["image"]
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(shared / "faces" / line["image"], copy)
    marked.append({"image": "away.jpg", "boxes": [[1, 2, 3, 4]]})
    marked.append({"image": marked[0]["image"], "boxes": None})
    (folder / "list.jsonl").write_text("\n".join(json.dumps(line) for line in marked))
    return folder


@pytest.fixture(scope="session")
def url(store: Path) -> Iterator[str]:
    """A running service with `small`."""
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
    assert loaded.pools is not None
    loaded.pools.close()
    listener.close()
