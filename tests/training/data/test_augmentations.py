"""Augmentations keep the shape of a scene, and boxes stay on their faces."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import U8
from training.data.augmentations import augment_for_both, augment_for_student, rotate
from training.data.scenes import Scene
from training.recipe import Recipe

RECIPE = Recipe()


def bright(x1: int, y1: int, x2: int, y2: int, size: int = 320) -> Scene:
    """A dark scene with one bright face."""
    image = np.zeros((size, size, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    boxes = np.asarray([[x1 / size, y1 / size, x2 / size, y2 / size]], np.float32)
    return Scene(image, boxes, np.ones((3, 3), np.bool_), 2)


def test_a_face_rotates_with_its_scene() -> None:
    scene = bright(200, 60, 240, 90)
    turned = 0
    for seed in range(40):
        rotated = rotate(scene, RECIPE, np.random.default_rng(seed))
        if rotated is scene:
            continue
        turned += 1
        seen = np.argwhere(rotated.image[..., 0] > 200).mean(0)[::-1] + 0.5
        box = rotated.boxes[0] * 320
        assert np.abs((box[:2] + box[2:]) / 2 - seen).max() < 1
        assert np.allclose(box[2:] - box[:2], (40, 30), atol=0.01)
        # The empty cells are no longer known.
        assert not rotated.empty.any()
    assert 5 < turned < 20


def test_a_face_that_leaves_its_scene_is_no_longer_labelled() -> None:
    scene = bright(304, 0, 320, 16)
    labelled = [
        (len(rotated.boxes), rotated.image[..., 0].max() > 200)
        for rotated in (rotate(scene, RECIPE, np.random.default_rng(seed)) for seed in range(60))
        if rotated is not scene
    ]
    assert {faces for faces, _ in labelled} == {0, 1}
    for faces, seen in labelled:
        assert seen or not faces


@pytest.mark.parametrize("augment", [augment_for_both, augment_for_student])
def test_an_augmented_image_keeps_its_shape(
    augment: Callable[[U8, Recipe, np.random.Generator], U8],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    before = image.copy()
    changed = 0
    for seed in range(60):
        made = augment(image, RECIPE, np.random.default_rng(seed))
        assert made.shape == image.shape
        assert made.dtype == image.dtype
        changed += not np.array_equal(made, image)
        assert np.array_equal(image, before)
    assert changed > 30
