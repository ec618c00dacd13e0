import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geometry.arrays import Floats
from geometry.boxes import area, clip, intersection, iou

boxes_strategy = arrays(
    np.float32, st.tuples(st.integers(0, 8), st.just(4)), elements=st.floats(-4, 4, width=32)
)


def boxes(*rows: tuple[float, float, float, float]) -> Floats:
    return np.asarray(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),  # an edge in common
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),  # a point: no area, no 0 / 0
        ((3, 3, 1, 1), (0, 0, 4, 4), 0.0),  # corners swapped
        ((3, 3, 1, 1), (3, 3, 1, 1), 0.0),
    ],
)
def test_iou_is_the_common_area_over_the_joined_area(
    one: tuple[float, float, float, float],
    other: tuple[float, float, float, float],
    expected: float,
) -> None:
    assert iou(boxes(one), boxes(other))[0, 0] == pytest.approx(expected)


def test_iou_of_no_boxes_is_an_empty_table() -> None:
    assert iou(boxes(), boxes((0, 0, 1, 1))).shape == (0, 1)
    assert iou(boxes((0, 0, 1, 1)), boxes()).shape == (1, 0)


def test_area_of_a_box_with_swapped_corners_is_zero_even_when_both_axes_are() -> None:
    assert area(boxes((0, 0, 2, 3), (2, 3, 0, 0), (2, 0, 0, 3))).tolist() == [6, 0, 0]


@given(boxes_strategy, boxes_strategy)
def test_iou_is_symmetric_and_between_zero_and_one(one: Floats, other: Floats) -> None:
    table = iou(one, other)
    assert table.dtype == np.float32
    assert np.array_equal(table, iou(other, one).T)
    assert ((table >= 0) & (table <= 1 + 1e-6)).all()


@given(boxes_strategy, boxes_strategy)
def test_an_intersection_is_no_larger_than_either_box(one: Floats, other: Floats) -> None:
    common = intersection(one, other)
    assert (common <= area(one)[:, None] + 1e-6).all()
    assert (common <= area(other)[None, :] + 1e-6).all()


@given(boxes_strategy)
def test_clipped_boxes_lie_inside_and_clipping_again_changes_nothing(some: Floats) -> None:
    inside = clip(some, 3, 2)
    assert (inside >= 0).all()
    assert (inside[:, [0, 2]] <= 3).all()
    assert (inside[:, [1, 3]] <= 2).all()
    assert np.array_equal(clip(inside, 3, 2), inside)


def test_clip_does_not_change_its_argument() -> None:
    some = boxes((-1, -1, 9, 9))
    assert clip(some, 4, 5).tolist() == [[0, 0, 4, 5]]
    assert some.tolist() == [[-1, -1, 9, 9]]
