"""Who runs the model: each must do the work that its time stands for."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from benchmarks import runtimes
from benchmarks.contest import Contestant
from benchmarks.runtimes import onnx_contestants, opencv_contestant, pictures
from geometry.arrays import U8, Floats
from service.routes.pages import SAMPLE
from sfd.errors import SfdError
from store.model import Model, load


@pytest.fixture
def model(built_model: Path) -> Model:
    return load(built_model.parent)


def photograph(model: Model, count: int, seed: int = 0) -> U8:
    with Image.open(SAMPLE) as image:
        pixels = np.asarray(image.convert("RGB").resize((model.input.width, model.input.height)))
    return np.stack([pixels] * count)


def predictions(peer: Contestant) -> tuple[Floats, Floats]:
    """Boxes [N, priors, 4] and scores [N, priors, 1] of a run of onnxruntime."""
    boxes, scores = cast(list[Floats], peer.run())
    return boxes, scores


def test_pictures_are_repeatable_noise_of_the_networks_size(model: Model) -> None:
    made = pictures(model, 3)
    assert made.shape == (3, 640, 640, 3)
    assert made.dtype == np.uint8
    assert made.std() > 70
    assert (made == pictures(model, 3)).all()
    assert (made[0] != made[1]).any()


def test_each_batch_size_is_a_contestant_with_that_many_images(model: Model) -> None:
    one, two = onnx_contestants(model, [1, 2], threads=1)
    assert [(one.name, one.images), (two.name, two.images)] == [
        ("onnxruntime, batch 1", 1),
        ("onnxruntime, batch 2", 2),
    ]
    for peer in (one, two):
        boxes, scores = predictions(peer)
        assert boxes.shape[0] == scores.shape[0] == peer.images


def test_both_see_the_same_face_with_the_same_score(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "pictures", photograph)
    (ours,) = onnx_contestants(model, [1], threads=1)
    theirs = opencv_contestant(model, threads=1)
    assert theirs.images == 1
    boxes, scores = predictions(ours)
    best = int(scores[0, :, 0].argmax())
    assert scores[0, best, 0] > 0.9
    # DetectionOutput: image, class, score, x1, y1, x2, y2, best first.
    found = np.asarray(theirs.run()).reshape(-1, 7)[0]
    assert found[2] == pytest.approx(scores[0, best, 0], abs=1e-5)
    assert found[3:] == pytest.approx(boxes[0, best], abs=1e-5)


def test_a_network_that_opencv_cannot_read_is_a_one_line_error(store: Path) -> None:
    with pytest.raises(SfdError, match=r"cells: OpenCV cannot read .*deploy\.prototxt") as caught:
        opencv_contestant(load(store / "cells"), threads=1)
    assert "\n" not in str(caught.value)
