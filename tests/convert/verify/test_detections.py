import numpy as np
import pytest

from convert.outputs.detection_output import DetectionOutput
from convert.verify.detections import (
    Bounds,
    Candidates,
    compare_candidates,
    compare_rows,
    decode_candidates,
    detect,
    from_heads,
)
from geometry.arrays import F32
from geometry.coding import CodeType

BOUNDS = Bounds((1 / 100, 1 / 100))
A = (0.1, 0.1, 0.3, 0.3)
B = (0.6, 0.6, 0.9, 0.9)
NEAR_A = (0.1, 0.1, 0.3, 0.29)


def detection(**changes: object) -> DetectionOutput:
    given: dict[str, object] = {
        "classes": 2,
        "labels": (1,),
        "share_location": True,
        "code_type": CodeType.CENTER_SIZE,
        "variance_encoded_in_target": False,
        "clip": False,
        "confidence_threshold": 0.5,
        "nms_threshold": 0.4,
        "top_k": -1,
        "keep_top_k": -1,
    }
    return DetectionOutput(**(given | changes))  # type: ignore[arg-type]


def candidates(*found: tuple[float, tuple[float, ...]]) -> Candidates:
    boxes = np.asarray([box for _, box in found], np.float32)
    scores = np.asarray([[score] for score, _ in found], np.float32)
    return from_heads(boxes, scores)


def rows(*found: tuple[float, tuple[float, ...]], label: int = 1) -> F32:
    return np.asarray([(0, label, score, *box) for score, box in found], np.float32).reshape(-1, 7)


def test_equal_rows_agree() -> None:
    both = rows((0.9, A), (0.8, B))
    verdict = compare_rows(detection(), BOUNDS, candidates((0.9, A), (0.8, B)), both, both)
    assert (verdict.passed, verdict.difference, verdict.note) == (True, 0, "2 detections agree")


def test_two_empty_answers_agree() -> None:
    assert compare_rows(detection(), BOUNDS, candidates((0.1, A)), rows(), rows()).passed


@pytest.mark.parametrize(
    "found",
    [
        rows((0.9, A)),
        rows((0.9, A), (0.8, B), (0.7, (0, 0.5, 0.2, 0.9))),
        rows((0.9, A), (0.7998, B)),
        rows((0.9, A), (0.8, (0.6, 0.6, 0.9, 0.901))),
        rows((0.9, A), (0.8, B), label=2),
        rows((0.9, A), (0.8, A)),
    ],
    ids=["one missing", "one too many", "other score", "other box", "other label", "box twice"],
)
def test_rows_that_differ_do_not_agree(found: F32) -> None:
    everything = detection(classes=3, labels=(1, 2))
    true = candidates((0.9, A), (0.8, B), (0.7, (0, 0.5, 0.2, 0.9)))
    both = Candidates(np.repeat(true.boxes, 2, 0), np.repeat(true.scores, 2, 0))
    verdict = compare_rows(everything, BOUNDS, both, rows((0.9, A), (0.8, B)), found)
    assert not verdict.passed
    assert "no counterpart" in verdict.note


@pytest.mark.parametrize(
    ("settings", "true", "expected", "found"),
    [
        # on the threshold
        ({}, ((0.9, A), (0.50005, B)), ((0.9, A), (0.50005, B)), ((0.9, A),)),
        # on the NMS threshold: 0.95 of A
        (
            {"nms_threshold": 0.951},
            ((0.9, A), (0.8, NEAR_A)),
            ((0.9, A), (0.8, NEAR_A)),
            ((0.9, A),),
        ),
        # equal scores of overlapping boxes: either may suppress the other
        ({}, ((0.9, A), (0.89995, NEAR_A)), ((0.9, A),), ((0.89995, NEAR_A),)),
        # on the cut of keep_top_k
        ({"keep_top_k": 1}, ((0.9, A), (0.8999, B)), ((0.9, A),), ((0.8999, B),)),
        # on the cut of top_k
        ({"top_k": 1}, ((0.9, A), (0.8999, B)), ((0.9, A),), ((0.8999, B),)),
    ],
    ids=["threshold", "nms", "tie", "keep_top_k", "top_k"],
)
def test_rounding_may_keep_or_drop_a_detection(
    settings: dict[str, object],
    true: tuple[tuple[float, tuple[float, ...]], ...],
    expected: tuple[tuple[float, tuple[float, ...]], ...],
    found: tuple[tuple[float, tuple[float, ...]], ...],
) -> None:
    verdict = compare_rows(
        detection(**settings), BOUNDS, candidates(*true), rows(*expected), rows(*found)
    )
    assert verdict.passed
    assert "more are kept or dropped by rounding" in verdict.note


def test_a_box_that_such_a_detection_suppresses_may_differ_too() -> None:
    second, third = (0.1, 0.1, 0.3, 0.22), (0.1, 0.1, 0.3, 0.17)
    # IoU of A and second 0.6, on the threshold; of second and third 0.58; of A and third 0.35.
    settings = detection(nms_threshold=0.599)
    true = candidates((0.9, A), (0.8, second), (0.7, (0.1, 0.1, 0.3, 0.173)))
    one = rows((0.9, A), (0.8, second))
    other = rows((0.9, A), (0.7, (0.1, 0.1, 0.3, 0.173)))
    assert third
    assert compare_rows(settings, BOUNDS, true, one, other).passed


def test_corners_decide_whether_boxes_of_less_than_a_pixel_agree() -> None:
    speck, moved = (0.5, 0.5, 0.5005, 0.5005), (0.50005, 0.5, 0.50055, 0.5005)
    far = (0.502, 0.5, 0.5025, 0.5005)
    true = candidates((0.9, speck))
    assert compare_candidates(detection(), BOUNDS, true, candidates((0.9, moved))).passed
    assert not compare_candidates(detection(), BOUNDS, true, candidates((0.9, far))).passed


def test_candidates_below_the_threshold_do_not_count() -> None:
    one, other = candidates((0.3, A), (0.9, A)), candidates((0.3, B), (0.9, A))
    assert compare_candidates(detection(), BOUNDS, one, other).passed
    assert not compare_candidates(detection(confidence_threshold=0.2), BOUNDS, one, other).passed


def test_bounds_become_as_wide_as_the_answers_of_the_reference_differ() -> None:
    one = candidates((0.9, A))
    assert BOUNDS.widened(detection(), one, one) == BOUNDS
    unsure = BOUNDS.widened(detection(), one, candidates((0.899, NEAR_A)))
    assert unsure.score == pytest.approx(0.001, rel=1e-3)
    assert unsure.iou == pytest.approx(0.95, rel=1e-3)


def test_equal_infinite_boxes_agree() -> None:
    vast = candidates((0.9, (-np.inf, 0.0, np.inf, 1.0)))
    with np.errstate(all="ignore"):
        assert compare_candidates(detection(), BOUNDS, vast, vast).passed


def test_detect_keeps_the_best_of_all_classes_in_the_order_of_labels() -> None:
    settings = detection(classes=3, labels=(1, 2), keep_top_k=3)
    boxes = np.asarray([A, B], np.float32)
    scores = np.asarray([[0.6, 0.9], [0.7, 0.8]], np.float32)
    found = detect(settings, from_heads(boxes, scores))
    np.testing.assert_allclose(found[:, 1:3], [(1, 0.7), (2, 0.9), (2, 0.8)])


def test_candidates_are_decoded_from_the_flat_blobs() -> None:
    settings = detection(share_location=False, classes=3, labels=(1, 2))
    priors = np.asarray([[A, B], [(0.1,) * 4] * 2], np.float32).reshape(1, 2, 8)
    loc = np.zeros((2, 3, 4), np.float32)
    loc[0, 2] = (1, 0, 0, 0)
    conf = np.arange(6, dtype=np.float32)
    found = decode_candidates(settings, loc.reshape(1, -1), conf, priors)
    np.testing.assert_array_equal(found.scores, [[1, 4], [2, 5]])
    np.testing.assert_allclose(found.boxes[0], [A, B], atol=1e-6)
    np.testing.assert_allclose(found.boxes[1, 0], (0.12, 0.1, 0.32, 0.3), atol=1e-6)
