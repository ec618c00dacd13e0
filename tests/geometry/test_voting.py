"""Several boxes of one face, and their mean."""

import numpy as np
import pytest

from geometry.voting import vote


def f32(*rows: tuple[float, ...]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.asarray(rows, np.float32)


@pytest.mark.parametrize(
    ("boxes", "scores", "kept", "voted"),
    [
        # A single box stays.
        ([(0, 0, 1, 1)], [0.9], [0], [(0, 0, 1, 1)]),
        # Two boxes of a face are weighted by their scores.
        ([(0, 0, 10, 10), (0, 0, 10, 8)], [0.6, 0.3], [0], [(0, 0, 10, 28 / 3)]),
        # A box of another face doesn't count, nor one that overlaps by less than half.
        ([(0, 0, 10, 10), (20, 0, 30, 10)], [0.6, 0.5], [0, 1], [(0, 0, 10, 10), (20, 0, 30, 10)]),
        ([(0, 0, 10, 10), (0, 6, 10, 16)], [0.6, 0.3], [0], [(0, 0, 10, 10)]),
        # A box that overlaps by exactly half counts.
        ([(0, 0, 10, 10), (0, 0, 10, 5)], [0.5, 0.5], [0], [(0, 0, 10, 7.5)]),
        # A box without area, or with score 0, stays as it is.
        ([(3, 3, 3, 3)], [0.9], [0], [(3, 3, 3, 3)]),
        ([(0, 0, 1, 1)], [0.0], [0], [(0, 0, 1, 1)]),
        ([(0, 0, 1, 1)], [0.5], [], np.zeros((0, 4))),
    ],
)
def test_a_face_is_the_weighted_mean_of_the_boxes_that_overlap_it(
    boxes: list[tuple[float, ...]],
    scores: list[float],
    kept: list[int],
    voted: list[tuple[float, ...]],
) -> None:
    made = vote(f32(*boxes), np.asarray(scores, np.float32), np.asarray(kept, np.int64))
    assert made.shape == (len(kept), 4)
    assert made == pytest.approx(np.asarray(voted), abs=1e-5)
