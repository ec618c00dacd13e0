import numpy as np
import pytest

from detection.detector import Query, faces_of
from detection.predictions import Predictions
from store.model import Thresholds

THRESHOLDS = Thresholds(default_score=0.5, nms_iou=0.3, top_k=5, keep_top_k=3)


def candidates(*scores: float) -> Predictions:
    """Boxes next to each other, without overlaps."""
    boxes = [[i, 0, i + 1, 1] for i in range(len(scores))]
    return Predictions(np.asarray(boxes, np.float32), np.asarray(scores, np.float32))


@pytest.mark.parametrize(
    ("scores", "query", "kept"),
    [
        ([0.1, 0.9, 0.6], Query(), [1, 2]),
        ([0.1, 0.9, 0.6], Query(min_score=0.05), [1, 2, 0]),
        ([0.5, 0.9], Query(), [1]),  # Caffe: strictly above
        ([0.9, 0.8, 0.7, 0.6], Query(), [0, 1, 2]),  # keep_top_k
        ([0.0, 0.0], Query(min_score=0), []),
        ([], Query(), []),
    ],
)
def test_faces_are_the_candidates_above_the_score_best_first(
    scores: list[float], query: Query, kept: list[int]
) -> None:
    found = candidates(*scores) if scores else Predictions(np.zeros((0, 4)), np.zeros(0))
    assert faces_of(found, THRESHOLDS, query).tolist() == kept


def test_top_k_is_taken_before_overlaps_are_dropped() -> None:
    # Caffe's order: the sixth candidate never enters NMS, although the first five are one face.
    boxes = np.asarray([[0, 0, 1, 1]] * 5 + [[5, 5, 6, 6]], np.float32)
    scores = np.linspace(0.9, 0.8, 6, dtype=np.float32)
    assert faces_of(Predictions(boxes, scores), THRESHOLDS, Query()).tolist() == [0]


def test_the_callers_nms_threshold_replaces_the_models() -> None:
    boxes = np.asarray([[0, 0, 2, 1], [1, 0, 3, 1]], np.float32)  # IoU 1/3
    found = Predictions(boxes, np.asarray([0.9, 0.8], np.float32))
    assert faces_of(found, THRESHOLDS, Query()).tolist() == [0]
    assert faces_of(found, THRESHOLDS, Query(nms_iou=0.4)).tolist() == [0, 1]
