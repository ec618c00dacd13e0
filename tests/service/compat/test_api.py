from typing import get_args

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection.detector import Detection
from detection.timings import STAGES, Timings
from service import compat
from service.compat.api import whole_pixels
from service.settings import Compat

TIMES = Timings(**dict.fromkeys(STAGES, 0.0))


def test_every_name_that_the_setting_accepts_is_an_api() -> None:
    assert len({id(compat.api(name)) for name in get_args(Compat)}) == len(compat.all_apis()) > 1


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_whole_pixels_lie_in_the_image_and_near_the_box(
    width: int, height: int, data: st.DataObject
) -> None:
    sides = []
    for side in (width, height):
        low, high = sorted(data.draw(st.tuples(*[st.floats(0, side, width=32)] * 2)))
        sides.append((low, high))
    (x1, x2), (y1, y2) = sides
    boxes = np.array([[x1, y1, x2, y2]], np.float32)
    found = Detection(width, height, boxes, np.ones(1, np.float32), TIMES, 1)
    [(left, top, right, bottom)] = whole_pixels(found)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    # Half a pixel for rounding, and one more where a box is thinner than a pixel.
    assert np.abs(np.array([left, top, right, bottom]) - boxes[0]).max() <= 1.5
