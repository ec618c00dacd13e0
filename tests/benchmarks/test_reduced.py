"""What reduced decoding changes, measured with the small model."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reduced
from detection.detector import Detection
from detection.timings import STAGES, Timings

TIMES = Timings(**dict.fromkeys(STAGES, 0.0))


def detection(*boxes: tuple[float, float, float, float]) -> Detection:
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Detection(100, 100, corners, np.ones(len(boxes), np.float32), TIMES, 1)


def test_each_expected_face_has_the_overlap_of_its_nearest_one() -> None:
    expected = detection((0, 0, 10, 10), (50, 50, 60, 60))
    found = detection((0, 0, 10, 10), (0, 0, 10, 5))
    assert reduced.overlaps(expected, found) == [1.0, 0.0]
    assert reduced.overlaps(expected, detection()) == [0.0, 0.0]
    assert reduced.overlaps(detection(), found) == []


def test_it_compares_the_faces_of_enlarged_images(
    store: Path,
    tmp_path: Path,
    bright_cells: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    (tmp_path / "one.png").write_bytes(bright_cells(5, 10))
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"image": "one.png", "boxes": [[16, 16, 32, 32]]}) + "\n")
    arguments = ["--model", "cells", "--images", str(tmp_path), "--side", "640"]
    assert reduced.main([*arguments, "--ground-truth", str(labels)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "faces: 2"
    assert [line.split()[0] for line in printed[1:]] == ["saved", "auto", "true"]
    assert all("for 100.00%" in line for line in printed[1:])


def test_an_image_that_cannot_be_read_is_named(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    (tmp_path / "one.png").write_bytes(b"no image")
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"image": "one.png", "boxes": []}) + "\n")
    arguments = ["--model", "cells", "--images", str(tmp_path), "--ground-truth", str(labels)]
    assert reduced.main(arguments) == 1
    assert "one.png" in capsys.readouterr().err
