"""Hostile files change no answer to a good photograph, and the service stays as it was.

Short: files made here, and a small model. Long (`make soak`): also every file of ../shared/hostile
and ../shared/cases/images, between real photographs, with the real model.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.reliability.hostile import SAMPLE, SETTINGS, attempt
from tests.reliability.pictures import Good, ask_alone, made, stored
from tests.reliability.service import Process, running

GROWTH = 1.1
"""Memory after a pass over memory before it. Both are measured after a first pass."""
Running = tuple[Process, Path]
Cells = Callable[..., bytes]


@pytest.fixture(scope="module")
def service(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Process, Path]]:
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    with running(tmp_path_factory.mktemp("service"), environment | SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def good(service: Running, bright_cells: Cells) -> list[Good]:
    files = {f"cell {cell}": bright_cells(cell, 15 - cell) for cell in range(5)}
    photographs = ask_alone(service[0].url, files)
    assert all(len(photo.faces) == 2 for photo in photographs)
    return photographs


@pytest.mark.parametrize("clients", [1, 16])
def test_made_files_change_no_answer_to_a_good_photograph(
    service: Running, good: list[Good], clients: int
) -> None:
    process, log = service
    files = made()
    found = attempt(process, log, files, good, clients)
    assert found["wrong"] == []
    assert found["good"] == len(files)
    assert sum(found["statuses"].values()) == len(files)
    assert found["statuses"]["400"] >= 5
    assert found["restarts"] == found["tracebacks"] == 0


ANSWERS = {
    400: ("empty", "jpeg-head", "jpeg-cut", "png-cut", "png-lies", "png-iccp", "tiff-strips",
          "tiff-steps", "jpeg-exif", "jpeg-scans", "jpeg-scans-hidden", "json-not-base64",
          "form-open", "form-no-boundary"),
    413: ("png-bomb", "png-wide", "bmp-rle", "json-many", "form-many"),
    415: ("text", "html", "zip", "heic"),
    422: ("json-long-key", "json-nested"),
    # Odd, but good.
    200: ("jpeg-zeroed", "gif-frames"),
}  # fmt: skip


def test_each_made_file_gets_its_answer(service: Running) -> None:
    expected = {name: status for status, names in ANSWERS.items() for name in names}
    found = {}
    for file in made(6):
        headers = {"Content-Type": file.content_type}
        url = f"{service[0].url}/detect{file.query}"
        answer = httpx.post(url, content=file.data, headers=headers, timeout=60)
        found[file.name] = answer.status_code
        assert len(answer.content) < 2000
    assert found == expected


@pytest.mark.soak
def test_no_stored_file_changes_an_answer_to_a_good_photograph(
    shared: Path, built_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = sorted((shared / "faces/wideroriginal").rglob("*.jpg"))[::40]
    files = [*made(5), *stored(shared / "hostile"), *stored(shared / "cases/images")]
    passes: list[dict[str, Any]] = []
    with running(tmp_path, SETTINGS) as (process, log):
        read = {path.stem: path.read_bytes() for path in (SAMPLE, *photographs)}
        good = ask_alone(process.url, read)
        # The first pass fills caches, pools and the allocator's arenas.
        passes += [attempt(process, log, files, good, clients) for clients in (16, 1, 16)]
    with capsys.disabled():
        print(json.dumps(passes, indent=1))
    for found in passes:
        assert found["wrong"] == []
        assert found["good"] == len(files)
        assert found["restarts"] == found["tracebacks"] == found["stray_lines"] == 0
    for found in passes[1:]:
        assert found["after"]["memory_mb"] < GROWTH * found["before"]["memory_mb"]
        assert found["after"]["threads"] <= found["before"]["threads"] + 2
        assert found["after"]["descriptors"] <= found["before"]["descriptors"] + 2
