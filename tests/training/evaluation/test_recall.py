"""Recall by height and attribute, and boxes on images without faces."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geometry.arrays import F64
from training.evaluation import false_boxes, recall
from training.evaluation.curves import Curve, Detections


def boxes(*rows: tuple[float, float, float, float]) -> F64:
    return np.asarray(rows, np.float64).reshape(-1, 4)


def detections(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.asarray(rows, np.float64).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4])


TWO = boxes((0, 0, 20, 20), (100, 100, 200, 200))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (detections(), [False, False]),
        (detections((0, 0, 20, 20, 0.9)), [True, False]),
        (detections((0, 0, 20, 20, 0.4)), [False, False]),
        (detections((0, 0, 20, 20, 0.9), (0, 0, 20, 19, 0.8)), [True, False]),
        (detections((0, 0, 9, 20, 0.9), (100, 100, 200, 200, 0.5)), [False, True]),
    ],
    ids=["nothing", "one", "below the score", "twice", "too little overlap"],
)
def test_a_face_is_found_once_from_the_score_on(found: Detections, expected: list[bool]) -> None:
    assert recall.found_faces(found, TWO, 0.5).tolist() == expected


def test_faces_are_grouped_by_their_height_in_the_letterbox(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (1280, 640)).save(path)
    found = detections((0, 0, 20, 20, 0.9))
    result = recall.by_group([path], [found], [TWO], [], 0.5)
    assert result["height"]["8-12"] == {"faces": 1, "found": 1, "recall": 1.0}
    assert result["height"]["32-64"] == {"faces": 1, "found": 0, "recall": 0.0}
    assert result["height"]["<8"]["recall"] is None
    assert result["all"] == {"faces": 2, "found": 1, "recall": 0.5}


def test_attributes_group_faces_that_are_valid_and_not_tiny(tmp_path: Path) -> None:
    path = tmp_path / "square.png"
    Image.new("RGB", (640, 640)).save(path)
    faces = boxes((0, 0, 20, 20), (100, 100, 200, 200), (300, 300, 310, 310), (400, 0, 440, 40))
    values = {"blur": np.asarray([0, 2, 2, 0]), "invalid": np.asarray([0, 0, 0, 1])}
    found = detections((0, 0, 20, 20, 0.9), (300, 300, 310, 310, 0.8))
    result = recall.by_group([path], [found], [faces], [values], 0.5)
    assert result["blur"]["clear"] == {"faces": 1, "found": 1, "recall": 1.0}
    assert result["blur"]["heavy"] == {"faces": 1, "found": 0, "recall": 0.0}
    assert result["invalid"]["invalid"]["faces"] == 1
    assert result["all"]["faces"] == 3
    assert "pose" not in result


def test_boxes_on_images_without_faces_are_counted() -> None:
    found = [detections((0, 0, 20, 20, 0.9)), detections((0, 0, 5, 5, 0.8), (9, 9, 12, 12, 0.3))]
    curve = Curve("all", np.asarray([0.6, 1.0]), np.ones(2), np.asarray([0.85, 0.2]), 1.0, 5)
    result = false_boxes.count(found, [TWO, boxes()], 0.5, {"all": curve})
    assert result == {
        "images": 1,
        "score": 0.5,
        "boxes": 1,
        "at_recall": {"0.5": 0, "0.6": 0, "0.7": 2, "0.8": 2, "0.9": 2},
    }
    assert false_boxes.count(found[:1], [TWO], 0.5, {"all": curve}) is None
