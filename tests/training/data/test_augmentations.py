"""Scenes that are spoilt keep their form, and faces their places."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import U8
from training.data.augmentations import degrade, obscure, tilt
from training.data.scenes import Scene


def bright(x1: int, y1: int, x2: int, y2: int, size: int = 320) -> Scene:
    """A dark scene with one bright face."""
    image = np.zeros((size, size, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    boxes = np.asarray([[x1 / size, y1 / size, x2 / size, y2 / size]], np.float32)
    return Scene(image, boxes, np.ones((3, 3), np.bool_), 2)


def test_a_face_turns_with_its_scene() -> None:
    scene = bright(200, 60, 240, 90)
    turned = 0
    for seed in range(40):
        tilted = tilt(scene, np.random.default_rng(seed))
        if tilted is scene:
            continue
        turned += 1
        seen = np.argwhere(tilted.image[..., 0] > 200).mean(0)[::-1] + 0.5
        box = tilted.boxes[0] * 320
        assert np.abs((box[:2] + box[2:]) / 2 - seen).max() < 1
        assert np.allclose(box[2:] - box[:2], (40, 30), atol=0.01)
        # Where the empty cells went to is not known.
        assert not tilted.empty.any()
    assert 5 < turned < 20


def test_a_face_that_turns_out_of_its_scene_is_not_marked() -> None:
    scene = bright(304, 0, 320, 16)
    marked = [
        (len(tilted.boxes), tilted.image[..., 0].max() > 200)
        for tilted in (tilt(scene, np.random.default_rng(seed)) for seed in range(60))
        if tilted is not scene
    ]
    assert {faces for faces, _ in marked} == {0, 1}
    for faces, seen in marked:
        assert seen or not faces


@pytest.mark.parametrize("spoil", [obscure, degrade])
def test_what_is_spoilt_has_the_form_of_before(
    spoil: Callable[[U8, np.random.Generator], U8],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    before = image.copy()
    changed = 0
    for seed in range(60):
        made = spoil(image, np.random.default_rng(seed))
        assert made.shape == image.shape
        assert made.dtype == image.dtype
        changed += not np.array_equal(made, image)
        assert np.array_equal(image, before)
    assert changed > 30
