"""Faces cut out of their picture: what a crop shows, and how large it is."""

import numpy as np
import pytest
from PIL import Image

from detection.crops import cut

Box = tuple[float, float, float, float]


def ramp(width: int, height: int) -> Image.Image:
    """A picture whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:height, :width]
    values = np.stack([columns, rows, np.zeros_like(rows)], axis=2)
    return Image.fromarray(values.astype(np.uint8))


def shown(box: Box, *, margin: float = 0.0, width: int = 200, height: int = 100) -> Box:
    """The rectangle of the picture that the crop of a box shows: left, top, right, bottom."""
    (crop,) = cut(ramp(width, height), np.asarray([box], np.float32), margin=margin, size=1000)
    values = np.asarray(crop)
    assert (values[:, :, 0] == values[0, :, 0]).all()
    assert (values[:, :, 1] == values[:, :1, 1]).all()
    left, top = values[0, 0, 0], values[0, 0, 1]
    return int(left), int(top), int(left) + crop.width, int(top) + crop.height


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 20, 30, 50), 0.0, (10, 20, 31, 51)),
        ((10.9, 20.9, 30.1, 50.1), 0.0, (10, 20, 31, 51)),
        # Of the longer side, on all sides: 0.5 * 30.
        ((50, 20, 60, 50), 0.5, (35, 5, 76, 66)),
        ((50, 20, 80, 30), 0.5, (35, 5, 96, 46)),
        # It ends at the edges.
        ((0, 0, 10, 10), 0.5, (0, 0, 16, 16)),
        ((190, 90, 200, 100), 0.5, (185, 85, 200, 100)),
        ((0, 0, 200, 100), 2.0, (0, 0, 200, 100)),
        # A part of a pixel, or nothing, is one pixel.
        ((199.5, 99.5, 200, 100), 0.0, (199, 99, 200, 100)),
        ((40.2, 30.2, 40.2, 30.2), 0.25, (40, 30, 41, 31)),
    ],
)
def test_a_crop_shows_the_box_its_margin_and_whole_pixels(
    box: Box, margin: float, expected: Box
) -> None:
    assert shown(box, margin=margin) == expected


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((0, 0, 99, 49), 256, (100, 50)),
        ((0, 0, 99, 49), 100, (100, 50)),
        ((0, 0, 99, 49), 50, (50, 25)),
        ((0, 0, 49, 99), 50, (25, 50)),
        ((0, 0, 199, 0.5), 16, (16, 1)),
    ],
)
def test_a_crop_is_shrunk_to_its_longer_side_and_never_enlarged(
    box: Box, size: int, expected: tuple[int, int]
) -> None:
    (crop,) = cut(ramp(200, 100), np.asarray([box], np.float32), margin=0, size=size)
    assert crop.size == expected


def test_there_is_a_crop_for_each_box_in_their_order() -> None:
    boxes = np.asarray([(50, 10, 60, 20), (10, 50, 20, 60)], np.float32)
    first, second = cut(ramp(200, 100), boxes, margin=0)
    assert first.getpixel((0, 0)) == (50, 10, 0)
    assert second.getpixel((0, 0)) == (10, 50, 0)
    assert list(cut(ramp(8, 8), np.zeros((0, 4), np.float32))) == []


def test_the_picture_itself_stays_as_it_is() -> None:
    picture = ramp(200, 100)
    list(cut(picture, np.asarray([(0, 0, 200, 100)], np.float32), size=16))
    assert picture.tobytes() == ramp(200, 100).tobytes()
