"""The plot shows a line for each curve."""

from io import BytesIO

import numpy as np
from PIL import Image

from training.evaluation.curves import Curve
from training.evaluation.plot import draw


def curve(name: str) -> Curve:
    recall = np.linspace(0, 1, 50)
    return Curve(name, recall, 1 - recall**2, 1 - recall, 0.66, 12)


def colours(png: bytes) -> set[tuple[int, ...]]:
    with Image.open(BytesIO(png)) as opened:
        image = opened.convert("RGB")
    found = image.getcolors(image.width * image.height)
    assert found is not None
    return {colour for _, colour in found if isinstance(colour, tuple)}


def test_each_curve_has_a_colour_of_its_own() -> None:
    one = colours(draw([curve("easy")], "one"))
    two = colours(draw([curve("easy"), curve("hard")], "two"))
    assert (0, 114, 178) in one
    assert (213, 94, 0) not in one
    assert {(0, 114, 178), (213, 94, 0)} <= two


def test_a_curve_is_drawn_where_its_points_are() -> None:
    """Precision falls from 1 at no recall to 0 at full: the colour runs from corner to corner."""
    with Image.open(BytesIO(draw([curve("easy")], "one"))) as opened:
        plotted = (np.asarray(opened.convert("RGB")) == (0, 114, 178)).all(2)
    rows, columns = plotted.nonzero()
    height, width = plotted.shape
    # The legend's line lies at the bottom on the left, which the curve reaches on the right.
    assert rows[columns < 0.2 * width].min() < 0.2 * height
    assert rows[columns > 0.9 * width].max() > 0.7 * height
    assert len(set(columns)) > 0.7 * width


def test_a_curve_without_points_is_only_named() -> None:
    none = np.zeros(0)
    empty = draw([], "none")
    named = draw([Curve("hard", none, none, none, 0.0, 0)], "none")
    assert named != empty
    assert (0, 114, 178) in colours(named)
