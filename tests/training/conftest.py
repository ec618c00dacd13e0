"""Small inputs of the tests: a tiny network, tiny pictures, a small published model in a store."""

import importlib.util
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import uvicorn
from PIL import Image, ImageDraw

from convert.options import Options
from convert.outputs.kinds import Kind
from service import runtime, settings
from service.app import create_app
from store.add import add
from training.architecture import files
from training.architecture.family import Architecture, Extra, heads, stage
from training.data.dataset import LabelledImage

if TYPE_CHECKING:
    from training.network.network import CaffeNetwork

LABELLED = 6

HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tensors are tiny here: more threads would only wait for each other."""
    if HAS_TORCH:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the deploy, train, test and solver prototxt of a tiny detector."""
    architecture = Architecture(
        height=128,
        width=128,
        stem=8,
        first_width=8,
        blocks=(
            *stage(8, 1, stride=2),
            *stage(16, 1, stride=2),
            *stage(24, 1, stride=2),
        ),
        last_width=48,
        extras=(Extra(16, 32), Extra(16, 32), Extra(16, 32)),
        heads=heads("conv_3/expand_"),
    )
    folder = tmp_path_factory.mktemp("tiny")
    files.write(architecture, "tiny", folder)
    for name in ("train.prototxt", "test.prototxt", "deploy.prototxt"):
        path = folder / name
        # The published 0.999 needs thousands of iterations to forget the random start.
        text = path.read_text().replace(
            "batch_norm_param {", "batch_norm_param { moving_average_fraction: 0.9"
        )
        path.write_text(text)
    return folder


@pytest.fixture
def network(tiny: Path) -> "Callable[[int], CaffeNetwork]":
    """The tiny detector with random weights of a seed, its BatchNorm settled on noise."""
    import torch

    from convert.caffe.network import load
    from training.network.network import CaffeNetwork

    def made(seed: int) -> CaffeNetwork:
        torch.manual_seed(seed)
        detector = CaffeNetwork(load(tiny / "deploy.prototxt", None)).train()
        detector.detect(torch.randn(2, 3, 256, 256) * 60)
        return detector.eval()

    return made


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledImage]:
    """Eight pictures of one or two pale discs with eyes on dark noise."""
    folder = tmp_path_factory.mktemp("portraits")
    random = np.random.default_rng(5)
    dataset = []
    for number in range(8):
        noise = random.integers(0, 90, (128, 128, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        pen = ImageDraw.Draw(picture)
        boxes = []
        for index in range(1 + number % 2):
            side = int(random.integers(24, 44))
            left = int(random.integers(2, 60 - side)) + 64 * index if side < 58 else 0
            top = int(random.integers(4, 120 - side))
            box = (left, top, left + side, top + side)
            pen.ellipse(box, fill=(235, 200, 180))
            for eye in (0.3, 0.7):
                x, y = left + eye * side, top + 0.4 * side
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(20, 20, 20))
            boxes.append(box)
        path = folder / f"{number}.png"
        picture.save(path)
        dataset.append(LabelledImage(path, path.name, np.asarray(boxes, np.float32)))
    return dataset


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
def labelled_folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `list.jsonl`, the images it names, and one name without a file."""
    folder = tmp_path_factory.mktemp("labelled")
    lines = [json.loads(line) for line in (shared / "faces/test.jsonl").read_text().splitlines()]
    labelled = [line for line in lines if line["boxes"]][:LABELLED]
    for line in labelled:
        copy = folder / line["image"]
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(shared / "faces" / line["image"], copy)
    labelled.append({"image": "away.jpg", "boxes": [[1, 2, 3, 4]]})
    labelled.append({"image": labelled[0]["image"], "boxes": None})
    (folder / "list.jsonl").write_text("\n".join(json.dumps(line) for line in labelled))
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
