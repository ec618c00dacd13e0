import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.arrays import Floats
from geometry.boxes import iou
from geometry.nms import nms


def random_boxes(seed: int, count: int) -> tuple[Floats, Floats]:
    """Crowded boxes [N, 4] on whole pixels, with scores [N] that include ties."""
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 40, (count, 2)).astype(np.float32)
    sides = generator.integers(1, 24, (count, 2)).astype(np.float32)
    scores = generator.integers(0, max(count // 2, 1), count).astype(np.float32) / max(count, 1)
    return np.concatenate([corners, corners + sides], 1), scores


def caffe_apply_nms_fast(boxes: Floats, scores: Floats, threshold: float, top_k: int) -> list[int]:
    """Caffe's util/bbox_util.cpp, written out: one box at a time against all kept."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    if top_k >= 0:
        order = order[:top_k]
    kept: list[int] = []
    for candidate in order:
        overlaps = (iou(boxes[k : k + 1], boxes[candidate : candidate + 1])[0, 0] for k in kept)
        if all(overlap <= np.float32(threshold) for overlap in overlaps):
            kept.append(candidate)
    return kept


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 60),
    st.sampled_from([0.0, 0.2, 0.3, 0.45, 0.5, 1.0]),
    st.sampled_from([-1, 0, 1, 7, 1000]),
)
def test_nms_keeps_what_caffes_loop_keeps(
    seed: int, count: int, threshold: float, top_k: int
) -> None:
    boxes, scores = random_boxes(seed, count)
    expected = caffe_apply_nms_fast(boxes, scores, threshold, top_k)
    assert nms(boxes, scores, threshold, top_k).tolist() == expected


@pytest.mark.parametrize("seed", range(20))
def test_nms_keeps_what_opencv_keeps(seed: int) -> None:
    boxes, _ = random_boxes(seed, 300)
    scores = np.random.default_rng(seed).random(300).astype(np.float32) + 0.01
    widths = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    expected = cv2.dnn.NMSBoxes(widths.astype(int).tolist(), scores.tolist(), 0.0, 0.31)
    assert nms(boxes, scores, 0.31).tolist() == np.asarray(expected).ravel().tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 20))
def test_a_limit_truncates_the_full_result(seed: int, count: int, limit: int) -> None:
    boxes, scores = random_boxes(seed, count)
    assert nms(boxes, scores, 0.3, limit=limit).tolist() == nms(boxes, scores, 0.3)[:limit].tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_no_two_kept_boxes_overlap_by_more_than_the_threshold(seed: int, count: int) -> None:
    boxes, scores = random_boxes(seed, count)
    kept = nms(boxes, scores, 0.3)
    table = iou(boxes[kept], boxes[kept])
    np.fill_diagonal(table, 0)
    assert (table <= np.float32(0.3)).all()
    assert (np.diff(scores[kept]) <= 0).all()


def test_an_overlap_equal_to_the_threshold_is_kept() -> None:
    boxes = np.asarray([[0, 0, 3, 1], [2, 0, 5, 1], [0, 0, 3, 1]], np.float32)
    scores = np.asarray([0.9, 0.8, 0.7], np.float32)
    assert nms(boxes, scores, 0.2).tolist() == [0, 1]


def test_of_equal_scores_the_lowest_index_comes_first() -> None:
    boxes = np.asarray([[0, 0, 1, 1]] * 3, np.float32)
    assert nms(boxes, np.full(3, 0.5, np.float32), 0.3).tolist() == [0]
