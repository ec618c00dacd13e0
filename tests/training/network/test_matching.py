"""Priors are matched to faces as in SSD."""

import numpy as np
import pytest

from geometry.arrays import F32
from training.network.matching import OUTSIDE, UNMATCHED, match


def boxes(*rows: list[float]) -> F32:
    return np.asarray(rows, np.float32).reshape(-1, 4)


LEFT, RIGHT = [0.0, 0.0, 0.4, 0.4], [0.5, 0.0, 0.9, 0.4]


def test_each_face_gets_its_best_prior_even_below_the_threshold() -> None:
    matches = match(boxes(LEFT, RIGHT), boxes([0.0, 0.0, 0.1, 0.1]), 0.5)
    assert matches.faces.tolist() == [0, UNMATCHED]
    assert matches.overlaps.tolist() == pytest.approx([1 / 16, 0])


def test_two_faces_never_share_their_best_prior() -> None:
    faces = boxes([0.0, 0.0, 0.4, 0.38], [0.0, 0.0, 0.4, 0.36])
    assert match(boxes(LEFT, [0.0, 0.1, 0.4, 0.5]), faces, 0.99).faces.tolist() == [0, 1]


@pytest.mark.parametrize(("per_prediction", "second"), [(True, 0), (False, UNMATCHED)])
def test_other_priors_match_above_the_threshold_if_asked_for(
    per_prediction: bool, second: int
) -> None:
    priors = boxes(LEFT, [0.0, 0.0, 0.4, 0.3], RIGHT)
    matches = match(priors, boxes(LEFT), 0.5, per_prediction=per_prediction)
    assert matches.faces.tolist() == [0, second, UNMATCHED]


def test_priors_across_the_border_can_be_ignored() -> None:
    priors = boxes([-0.1, 0.0, 0.4, 0.4], RIGHT)
    assert match(priors, boxes(LEFT), 0.5).faces.tolist() == [0, UNMATCHED]
    ignored = match(priors, boxes(LEFT), 0.5, ignore_crossing=True)
    assert ignored.faces.tolist() == [OUTSIDE, UNMATCHED]


def test_without_faces_no_prior_is_matched() -> None:
    assert match(boxes(LEFT), boxes(), 0.5).faces.tolist() == [UNMATCHED]
