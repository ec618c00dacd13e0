"""The picture shows a line for each curve."""

from pathlib import Path

import numpy as np
from PIL import Image

from training.evaluation.curves import Curve
from training.evaluation.picture import draw


def curve(name: str) -> Curve:
    recall = np.linspace(0, 1, 50)
    return Curve(name, recall, 1 - recall**2, 1 - recall, 0.66, 12)


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    found = image.getcolors(image.width * image.height)
    assert found is not None
    return {colour for _, colour in found if isinstance(colour, tuple)}


def test_each_curve_has_a_colour_of_its_own(tmp_path: Path) -> None:
    draw([curve("easy")], "one", tmp_path / "one.png")
    draw([curve("easy"), curve("hard")], "two", tmp_path / "two.png")
    assert (0, 114, 178) in colours(tmp_path / "one.png")
    assert (213, 94, 0) not in colours(tmp_path / "one.png")
    assert {(0, 114, 178), (213, 94, 0)} <= colours(tmp_path / "two.png")


def test_a_curve_without_points_is_only_named(tmp_path: Path) -> None:
    none = np.zeros(0)
    draw([Curve("hard", none, none, none, 0.0, 0)], "none", tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()
