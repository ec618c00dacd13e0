"""A small model, jobs on it, and their results."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as dataset
import pytest
from PIL import Image

from store import model as models
from store.build import build
from store.staging import write_description
from tests.cells import encode
from tests.store.conftest import describe, written
from training.architecture.family import Architecture

Rows = list[dict[str, Any]]


@pytest.fixture
def _small_model(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Let jobs use the model of bright cells."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "cells")
    monkeypatch.setenv("SFD_THREADS", "1")


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Path], Rows]:
    """Reads all rows of a job's results, by path, without the seconds."""

    def read(out: Path) -> Rows:
        table = dataset.dataset(out / "results", format="parquet").to_table()
        rows: Rows = table.drop_columns(["seconds"]).to_pylist()
        return sorted(rows, key=lambda row: str(row["path"]))

    return read


@pytest.fixture
def pictures(tmp_path: Path, bright_cells: Callable[..., bytes]) -> Path:
    """A folder of seven pictures: picture N has N faces."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        name = f"deep/{number}.png" if number % 2 else f"{number}.png"
        # Cells that do not touch, so that NMS keeps each.
        (folder / name).write_bytes(bright_cells(*range(number)))
    return folder


@pytest.fixture(scope="session")
def command() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts `sfd detect` as a process of its own, with these arguments."""

    def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "sfd", "detect", *map(str, arguments)],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory, smallest: Architecture) -> Path:
    """A store with a detector `tiny` of the SFD family, converted, on 64x64 pixels."""
    store = tmp_path_factory.mktemp("tiny")
    detector = written(tmp_path_factory.mktemp("caffe"), smallest)
    folder = store / "tiny"
    folder.mkdir()
    (folder / "deploy.prototxt").write_bytes(detector.prototxt.read_bytes())
    (folder / "weights.caffemodel").write_bytes(detector.caffemodel.read_bytes())
    write_description(describe(detector, "tiny"), folder)
    build(models.load(folder), verify=False)
    return store


@pytest.fixture(scope="session")
def many_pictures() -> Callable[[Path, int], None]:
    """Fills a folder with pictures of a few contents; every 50th is broken."""

    def fill(folder: Path, count: int) -> None:
        random = np.random.default_rng(0)
        contents = [
            encode(Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)), "JPEG")
            for _ in range(16)
        ]
        folder.mkdir()
        for number in range(count):
            content = contents[number % 16]
            if number % 50 == 49:
                content = content[: 100 + number % 16]
            (folder / f"{number:06}.jpg").write_bytes(content)

    return fill
