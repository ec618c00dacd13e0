"""Average precision, matching, and the exact curve."""

import numpy as np
import pytest

from training.evaluation.curves import (
    Detections,
    at_score,
    average_precision,
    best_f1_score,
    match,
    precision_recall,
)

FACE = [10.0, 10.0, 30.0, 30.0]
NEAR = [11.0, 11.0, 31.0, 31.0]
FAR = [60.0, 60.0, 80.0, 80.0]


def found(*pairs: tuple[list[float], float]) -> Detections:
    boxes = np.asarray([box for box, _ in pairs], np.float64).reshape(-1, 4)
    return Detections(boxes, np.asarray([score for _, score in pairs], np.float64))


def faces(*boxes: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("recall", "precision", "area"),
    [
        ([], [], 0.0),
        ([1.0], [1.0], 1.0),
        ([0.5], [1.0], 0.5),
        ([0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3], 0.5 + 0.5 * 2 / 3),
        # Precision is made to fall: the dip at the first step does not count.
        ([0.25, 0.5], [0.5, 1.0], 0.5),
    ],
)
def test_average_precision_is_the_area_under_the_falling_curve(
    recall: list[float], precision: list[float], area: float
) -> None:
    assert average_precision(np.asarray(recall), np.asarray(precision)) == pytest.approx(area)


@pytest.mark.parametrize(
    ("detections", "labelled", "true"),
    [
        (found(), faces(FACE), []),
        (found((FACE, 0.9)), faces(), [False]),
        (found((FACE, 0.9), (FAR, 0.8)), faces(FACE), [True, False]),
        # One face is found once, by the better score, wherever that lies in the list.
        (found((NEAR, 0.8), (FACE, 0.9)), faces(FACE), [False, True]),
        # Two detections near two faces each get one, although both prefer the first.
        (found((FACE, 0.9), (FACE, 0.8)), faces(FACE, NEAR), [True, True]),
    ],
)
def test_each_face_is_found_once(
    detections: Detections,
    labelled: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    true: list[bool],
) -> None:
    assert match(detections, labelled).tolist() == true


def test_an_overlap_of_exactly_half_is_enough() -> None:
    half = [10.0, 10.0, 30.0, 20.0]
    assert match(found((half, 0.9)), faces(FACE)).tolist() == [True]


def test_false_detections_in_images_without_faces_cost_precision() -> None:
    alone = precision_recall([found((FACE, 0.5))], [faces(FACE)])
    with_empty = precision_recall([found((FACE, 0.5)), found((FAR, 0.9))], [faces(FACE), faces()])
    assert alone.average_precision == 1.0
    assert with_empty.average_precision == 0.5


def test_equal_scores_are_one_point_of_the_curve() -> None:
    curve = precision_recall([found((FAR, 0.9), (FACE, 0.9))], [faces(FACE)])
    assert curve.recall.tolist() == [1.0]
    assert curve.precision.tolist() == [0.5]


def test_the_point_at_a_score_counts_detections_at_least_as_good() -> None:
    curve = precision_recall([found((FACE, 0.9), (FAR, 0.6), (NEAR, 0.3))], [faces(FACE)])
    assert at_score(curve, 0.9) == (1.0, 1.0)
    assert at_score(curve, 0.5) == (0.5, 1.0)
    assert at_score(curve, 0.95) == (1.0, 0.0)


def test_no_images_make_an_empty_curve() -> None:
    curve = precision_recall([], [])
    assert (curve.average_precision, curve.faces) == (0.0, 0)


def test_the_best_f1_lies_where_a_lower_score_brings_more_errors_than_faces() -> None:
    found = [Detections(np.asarray([[0, 0, 9, 9], [20, 20, 29, 29], [50, 50, 59, 59]], np.float64),
                        np.asarray([0.9, 0.6, 0.3]))]  # fmt: skip
    faces = [np.asarray([[0, 0, 9, 9], [20, 20, 29, 29]], np.float64)]
    assert best_f1_score(precision_recall(found, faces)) == 0.6
    assert best_f1_score(precision_recall([], [])) == 1.0
