from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detection.redaction import CELLS, areas, hide

Style = Literal["blur", "pixelate"]
STYLES: tuple[Style, ...] = ("blur", "pixelate")


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values, "RGB")


@pytest.mark.parametrize("style", STYLES)
def test_no_detail_finer_than_a_cell_is_left_of_a_face(style: Style) -> None:
    """Noise of single pixels has a spread of 74; means over a sixth of a face have near none."""
    hidden = np.asarray(hide(noise(400, 300), np.asarray([[100, 80, 220, 240]], np.float32), style))
    assert np.asarray(noise(400, 300))[80:240, 100:220].std() > 70
    assert hidden[80:240, 100:220].std() < 8


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("side", [22, 46, 230])
def test_two_faces_with_the_same_means_become_the_same(style: Style, side: int) -> None:
    """So the face can't be reconstructed: many faces give the same result."""
    box = np.asarray([[40, 40, 40 + side, 40 + side]], np.float32)
    (area,) = areas(box, 400, 400)
    one = noise(400, 400)
    other = one.copy()
    # Mirrored within each cell: other pixels, the same means.
    width = area[2] - area[0]
    assert width % CELLS == 0
    cell = width // CELLS
    values = np.asarray(other).copy()
    for y in range(area[1], area[3], cell):
        for x in range(area[0], area[2], cell):
            values[y : y + cell, x : x + cell] = values[y : y + cell, x : x + cell][::-1, ::-1]
    other = Image.fromarray(values, "RGB")
    first, second = np.asarray(hide(one, box, style)), np.asarray(hide(other, box, style))
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1


@pytest.mark.parametrize("style", STYLES)
def test_the_rest_of_the_picture_is_untouched_and_so_is_the_original(style: Style) -> None:
    image = noise(200, 100)
    hidden = np.asarray(hide(image, np.asarray([[50, 20, 90, 70]], np.float32), style)).copy()
    left, top, right, bottom = areas(np.asarray([[50, 20, 90, 70]], np.float32), 200, 100)[0]
    hidden[top:bottom, left:right] = 0
    expected = np.asarray(image).copy()
    expected[top:bottom, left:right] = 0
    assert (hidden == expected).all()
    assert (np.asarray(image) == np.asarray(noise(200, 100))).all()


def test_a_pixelated_face_is_made_of_a_few_blocks() -> None:
    hidden = np.asarray(
        hide(noise(300, 300), np.asarray([[100, 100, 160, 160]], np.float32), "pixelate")
    )
    assert len(np.unique(hidden[100:160, 100:160].reshape(-1, 3), axis=0)) <= CELLS**2


Coordinate = st.floats(0, 100, width=32)


@given(x=st.tuples(Coordinate, Coordinate), y=st.tuples(Coordinate, Coordinate))
def test_a_hidden_area_covers_the_box_and_stays_inside_the_image(
    x: tuple[float, float], y: tuple[float, float]
) -> None:
    box = np.asarray([[min(x), min(y), max(x), max(y)]], np.float32)
    for left, top, right, bottom in areas(box, 100, 80):
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 80
        assert left <= box[0, 0]
        assert right >= box[0, 2]
        assert top <= max(box[0, 1], 0)
        assert bottom >= min(box[0, 3], 80)
    for style in STYLES:
        hide(Image.new("RGB", (100, 80)), box, style)


@pytest.mark.parametrize("style", STYLES)
def test_a_picture_without_faces_is_unchanged(style: Style) -> None:
    image = noise(50, 50)
    hidden = hide(image, np.zeros((0, 4), np.float32), style)
    assert hidden.tobytes() == image.tobytes()


@pytest.mark.parametrize("style", STYLES)
def test_work_that_is_called_off_ends_before_the_next_face(style: Style) -> None:
    boxes = np.asarray([[10 * n, 0, 10 * n + 8, 8] for n in range(10)], np.float32)
    checked = 0

    def check() -> None:
        nonlocal checked
        checked += 1
        if checked == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        hide(noise(200, 50), boxes, style, check)
    assert checked == 4
