"""Scenes are made of any image, and labelled faces stay in place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw

from training.data.dataset import LabelledImage
from training.data.images import DatasetError
from training.data.scenes import Scene, compose, crop, sampling_shares
from training.recipe import Recipe

RECIPE = Recipe()


def composed(dataset: list[LabelledImage], size: int, seed: int) -> Scene:
    shares = sampling_shares(dataset, RECIPE.crowd)
    return compose(dataset, shares, size, RECIPE, np.random.default_rng(seed))


def test_images_of_crowds_are_drawn_more_often(tmp_path: Path) -> None:
    kinds = []
    for value, faces in ((50, None), (100, 0), (150, 1), (200, 3), (250, 90)):
        Image.new("L", (60, 60), value).save(tmp_path / f"{value}.png")
        boxes = None if faces is None else np.full((faces, 4), (5, 5, 9, 9), np.float32)
        kinds.append(LabelledImage(tmp_path / f"{value}.png", str(value), boxes))
    assert sampling_shares(kinds, 8) * 14 == pytest.approx([1, 1, 1, 3, 8])
    made = [composed(kinds, 96, seed) for seed in range(300)]
    singles = [scene.image[48, 48, 0] for scene in made if scene.cells == 1]
    assert 0.4 < np.mean(np.asarray(singles) == 250) < 0.75


def test_a_small_image_also_makes_a_scene(tmp_path: Path) -> None:
    Image.new("RGB", (40, 60)).save(tmp_path / "small.png")
    small = LabelledImage(tmp_path / "small.png", "small.png", None)
    for seed in range(10):
        assert composed([small], 320, seed).image.shape == (320, 320, 3)


def test_scenes_keep_their_faces_inside(portraits: list[LabelledImage]) -> None:
    for seed in range(20):
        made = composed(portraits, 96, seed)
        assert made.image.shape == (96, 96, 3)
        assert ((made.boxes >= 0) & (made.boxes <= 1)).all()
        assert (made.boxes[:, 2:] > made.boxes[:, :2]).all()


def test_a_mosaic_says_which_of_its_cells_have_no_face(tmp_path: Path) -> None:
    """Red pictures have no face, green ones have one, and blue ones are not labelled."""
    some, none = np.asarray([[10, 10, 30, 30]], np.float32), np.zeros((0, 4), np.float32)
    kinds = []
    for colour, boxes in (("red", none), ("lime", some), ("blue", None)):
        Image.new("RGB", (60, 60), colour).save(tmp_path / f"{colour}.png")
        kinds.append(LabelledImage(tmp_path / f"{colour}.png", f"{colour}.png", boxes))
    seen = set()
    for seed in range(20):
        made = composed(kinds, 96, seed)
        side = 96 // made.cells
        for row in range(made.cells):
            for column in range(made.cells):
                cell = made.image[row * side : (row + 1) * side, column * side :][:, :side]
                # A picture that does not fill its cell lies on the mean colour.
                red = bool((cell == (255, 0, 0)).all(2).any())
                assert made.empty[row, column] == red
                seen.add((made.cells, red))
    assert seen == {(cells, red) for cells in (1, 2, 3) for red in (True, False)}


@pytest.mark.parametrize("turn", [None, 6, 8])
@pytest.mark.parametrize("name", ["large.jpg", "large.png"])
def test_a_face_lies_in_its_box_at_any_scale(tmp_path: Path, name: str, turn: int | None) -> None:
    """A JPEG is decoded at a half, a quarter or an eighth, and its size is odd."""
    picture = Image.new("RGB", (1203, 901))
    ImageDraw.Draw(picture).rectangle((911, 605, 1110, 804), fill=(255, 255, 255))
    exif = Image.Exif()
    if turn is not None:
        exif[ExifTags.Base.Orientation] = turn
        back = Image.Transpose.ROTATE_90 if turn == 6 else Image.Transpose.ROTATE_270
        picture = picture.transpose(back)
    picture.save(tmp_path / name, quality=95, exif=exif)
    labelled = LabelledImage(tmp_path / name, name, np.asarray([[911, 605, 1111, 805]], np.float32))
    off = []
    for seed in range(80):
        cell, boxes = crop(labelled, 107, 107, RECIPE, np.random.default_rng(seed))
        light = np.argwhere((cell > 128).all(2))
        for x1, y1, x2, y2 in boxes:
            off.append([*light.min(0) - (y1, x1), *light.max(0) + 1 - (y2, x2)])
    assert len(off) > 30
    # Half a pixel for the cell's edge, half for the threshold of brightness, and JPEG's losses.
    assert np.abs(off).max() <= 1.01
    assert np.abs(np.mean(off, 0)).max() < 0.15


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    picture = Image.effect_noise((300, 300), 90).convert("RGB")
    picture.save(tmp_path / "cut.jpg", quality=95)
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name in ("cut.jpg", "missing.jpg"):
        labelled = LabelledImage(tmp_path / name, name, None)
        with pytest.raises(DatasetError, match=f"{name}: can't be read as an image"):
            crop(labelled, 96, 96, RECIPE, np.random.default_rng(0))
