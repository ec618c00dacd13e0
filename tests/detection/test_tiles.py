from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import tiles
from detection.tiles import MARGIN, MOST, STEP, Tile, gather, layout, seen_whole, uncut

SIDES = st.integers(1, 9000)
INPUTS = st.integers(64, 1024)
Given = given(width=SIDES, height=SIDES, input_width=INPUTS, input_height=INPUTS)


@pytest.mark.parametrize(("width", "height"), [(640, 640), (1, 1), (640, 3), (639, 640)])
def test_an_image_that_fits_into_the_input_has_no_tiles(width: int, height: int) -> None:
    assert layout(width, height, 640, 640) == (Tile(0, 0, width, height),)


def test_a_larger_image_gets_tiles_at_full_resolution_aligned_to_its_edges() -> None:
    assert layout(1024, 768, 640, 640) == (
        Tile(0, 0, 1024, 768),
        Tile(0, 0, 640, 640),
        Tile(384, 0, 640, 640),
        Tile(0, 128, 640, 640),
        Tile(384, 128, 640, 640),
    )


def test_a_tile_is_not_higher_than_the_image() -> None:
    assert layout(1000, 300, 640, 640)[1:] == (Tile(0, 0, 640, 300), Tile(360, 0, 640, 300))


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(1920, 1080, 9), (4000, 3000, 58), (6000, 4000, 63), (8660, 5773, 63), (50_000_000, 1, 64)],
)
def test_the_number_of_tiles_is_as_documented(width: int, height: int, count: int) -> None:
    assert len(layout(width, height, 640, 640)) == count <= MOST


@Given
def test_the_first_is_the_whole_image_and_every_tile_lies_inside_it(
    width: int, height: int, input_width: int, input_height: int
) -> None:
    whole, *rest = layout(width, height, input_width, input_height)
    assert whole == Tile(0, 0, width, height)
    for tile in rest:
        assert 0 <= tile.left <= width - tile.width
        assert 0 <= tile.top <= height - tile.height


@given(width=SIDES, height=SIDES, most=st.integers(1, 300))
def test_there_are_never_more_tiles_than_the_limit(width: int, height: int, most: int) -> None:
    assert len(layout(width, height, 640, 640, most)) <= most


@given(width=SIDES, height=SIDES, data=st.data())
def test_some_tile_shows_each_face_whole_and_large_enough_to_be_found(
    width: int, height: int, data: st.DataObject
) -> None:
    """The claim of the module's docstring, for any face of at least 16 pixels."""
    rectangles = layout(width, height, 640, 640)
    side = data.draw(st.integers(1, min(width, height)))
    x = data.draw(st.integers(0, width - side))
    y = data.draw(st.integers(0, height - side))
    face = np.asarray([[x, y, x + side, y + side]], np.float64)
    sizes = []
    for tile in rectangles:
        zoom = max(tile.width / 640, tile.height / 640)
        if uncut(face, tile, width, height, MARGIN * zoom)[0]:
            sizes.append(side / zoom)
    finest = min(max(t.width / 640, t.height / 640) for t in rectangles)
    # The last percent allows for rounding a tile's side to whole pixels.
    assert max(sizes) >= min(side / max(finest, 1), seen_whole(640) / STEP) * 0.99


@given(width=SIDES, height=SIDES)
def test_each_level_is_at_most_one_step_finer_than_the_one_before(width: int, height: int) -> None:
    zooms = [max(t.width, t.height) for t in layout(width, height, 640, 640)]
    for coarser, finer in pairwise(zooms):
        assert finer <= coarser <= finer * STEP * 1.01


def test_a_fitting_image_is_not_divided_by_zero() -> None:
    assert len(layout(2, 2, 1, 1)) == 5


@pytest.mark.parametrize(
    ("box", "whole"),
    [
        ([100, 100, 200, 200], True),
        ([0, 0, 50, 50], True),  # the image's own corner does not count
        ([595, 100, 639, 200], False),  # ends at the inner border
        ([595, 100, 700, 200], False),  # guessed past it
        ([595, 100, 632, 200], True),
        ([100, 300, 200, 633], False),
    ],
)
def test_a_box_is_cut_only_at_an_inner_border(box: list[int], whole: bool) -> None:
    tile = Tile(0, 0, 640, 640)
    assert uncut(np.asarray([box], np.float32), tile, 1024, 768, 8).tolist() == [whole]


def test_boxes_of_the_tiles_are_in_pixels_of_the_image() -> None:
    rectangles = (Tile(0, 0, 1280, 640), Tile(0, 0, 640, 640), Tile(640, 0, 640, 640))
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    right = np.asarray([[0, 10, 30, 40], [100, 10, 130, 40]], np.float32)
    boxes, scores = gather(
        rectangles, [none, none, (right, np.asarray([0.9, 0.8], np.float32))], 640, 640
    )
    assert boxes.tolist() == [[740, 10, 770, 40]]
    assert scores.tolist() == [np.float32(0.8)]
    assert boxes.dtype == np.float32


def test_the_module_docstring_states_the_right_numbers() -> None:
    assert tiles.__doc__ is not None
    assert f"at {seen_whole(640) // STEP} pixels or more" in tiles.__doc__
