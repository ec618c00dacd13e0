import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.letterbox import Letterbox

sides = st.integers(1, 5000)
targets = st.integers(1, 1024)


@pytest.mark.parametrize(
    ("image", "target", "size", "corner"),
    [
        ((640, 640), (640, 640), (640, 640), (0, 0)),
        ((1280, 640), (640, 640), (640, 320), (0, 160)),
        ((320, 640), (640, 640), (320, 640), (160, 0)),
        ((64, 32), (640, 640), (640, 320), (0, 160)),  # enlarged
        ((1000, 3), (640, 640), (640, 2), (0, 319)),
        ((10000, 1), (640, 640), (640, 1), (0, 319)),  # a very thin image keeps one pixel
        ((3, 2), (4, 4), (4, 3), (0, 0)),  # the odd pixel is below
        ((800, 450), (320, 640), (320, 180), (0, 230)),
    ],
)
def test_an_image_is_scaled_to_fit_and_centred(
    image: tuple[int, int], target: tuple[int, int], size: tuple[int, int], corner: tuple[int, int]
) -> None:
    box = Letterbox.fit(*image, *target)
    assert (box.width, box.height) == size
    assert (box.left, box.top) == corner


@given(sides, sides, targets, targets)
def test_the_placement_lies_inside_the_input_and_touches_two_opposite_edges(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    box = Letterbox.fit(width, height, target_width, target_height)
    assert 0 <= box.left <= box.left + box.width <= target_width
    assert 0 <= box.top <= box.top + box.height <= target_height
    assert box.width == target_width or box.height == target_height


@given(sides, sides, targets, targets)
def test_the_placed_rectangle_is_the_whole_image(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    box = Letterbox.fit(width, height, target_width, target_height)
    placed = np.asarray(
        [[box.left, box.top, box.left + box.width, box.top + box.height]], np.float64
    ) / np.asarray([target_width, target_height] * 2)
    assert np.allclose(box.to_image(placed), [[0, 0, width, height]], atol=1e-6 * (width + height))


@given(
    sides,
    sides,
    targets,
    targets,
    st.lists(st.tuples(*[st.floats(-1, 2, width=32)] * 4), max_size=5),
)
def test_to_image_undoes_the_resize_and_the_padding(
    width: int,
    height: int,
    target_width: int,
    target_height: int,
    rows: list[tuple[float, float, float, float]],
) -> None:
    box = Letterbox.fit(width, height, target_width, target_height)
    fractions = np.asarray(rows, np.float64).reshape(-1, 4)
    # By hand: pixels of the image, resized, moved by the padding, as fractions of the input.
    scale = np.asarray([box.width / width, box.height / height] * 2)
    padding = np.asarray([box.left, box.top] * 2)
    back = (box.to_image(fractions) * scale + padding) / ([target_width, target_height] * 2)
    assert np.allclose(back, fractions, atol=1e-9)


@pytest.mark.parametrize("bad", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, -3)])
def test_an_empty_side_is_refused(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Letterbox.fit(*bad)


def test_boxes_keep_their_precision() -> None:
    box = Letterbox.fit(10, 20, 640, 640)
    assert box.to_image(np.zeros((0, 4), np.float32)).dtype == np.float32
