"""Scenes are made of any photograph, with its faces where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.photographs import Photograph
from training.scenes import compose, crop


def test_a_thumbnail_makes_a_scene_too(tmp_path: Path) -> None:
    Image.new("RGB", (40, 60)).save(tmp_path / "small.png")
    small = Photograph(tmp_path / "small.png", "small.png", None)
    for seed in range(10):
        assert compose([small], 320, np.random.default_rng(seed)).image.shape == (320, 320, 3)


def test_scenes_keep_their_faces_inside(portraits: list[Photograph]) -> None:
    for seed in range(20):
        made = compose(portraits, 96, np.random.default_rng(seed))
        assert made.image.shape == (96, 96, 3)
        assert ((made.boxes >= 0) & (made.boxes <= 1)).all()
        assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()


@pytest.mark.parametrize("name", ["large.jpg", "large.png"])
def test_a_face_lies_where_its_box_says_at_any_scale(tmp_path: Path, name: str) -> None:
    """A JPEG is decoded at a half, a quarter or an eighth: its odd size has no such part."""
    picture = Image.new("RGB", (1203, 901))
    ImageDraw.Draw(picture).rectangle((611, 305, 810, 504), fill=(255, 255, 255))
    picture.save(tmp_path / name, quality=95)
    marked = Photograph(tmp_path / name, name, np.asarray([[611, 305, 811, 505]], np.float32))
    seen = 0
    for seed in range(60):
        cell, boxes = crop(marked, 107, 107, np.random.default_rng(seed))
        light = np.argwhere((cell > 128).all(2))
        for x1, y1, x2, y2 in boxes:
            seen += 1
            assert light.min(0) == pytest.approx((y1, x1), abs=1.01)
            assert light.max(0) + 1 == pytest.approx((y2, x2), abs=1.01)
    assert seen > 30
