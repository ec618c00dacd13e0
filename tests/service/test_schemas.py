"""From parameters to a detector's query, and from a detection to JSON."""

import base64
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from detection.detector import Detection, Query
from detection.timings import Timings
from service.schemas import DetectParameters, FaceParameters, ImageResult


def test_parameters_become_the_query_of_the_detector() -> None:
    given = FaceParameters(min_score=0.1, nms_iou=0.2, max_faces=3, min_size=4, tiles="auto")
    assert given.query() == Query(min_score=0.1, nms_iou=0.2, max_faces=3, min_size=4, tiles=True)
    assert FaceParameters().query() == Query()


@pytest.mark.parametrize(
    "given",
    [
        {"min_score": -0.01}, {"min_score": 1.01}, {"min_score": "nan"}, {"nms_iou": 2},
        {"max_faces": 0}, {"max_faces": 100_001}, {"min_size": -1}, {"min_size": "inf"},
        {"tiles": "on"}, {"render": "mosaic"}, {"crops": "2"}, {"crop_margin": 2.01},
        {"crop_margin": "nan"}, {"crop_size": 15}, {"crop_size": 1025}, {"colour": "red"},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_out_of_range_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        DetectParameters.model_validate(given)
    assert [error["loc"] for error in caught.value.errors()] == [tuple(given)]


def test_crops_stay_with_their_faces() -> None:
    boxes = np.asarray([[1, 2, 11, 22], [30, 40, 35, 45]], np.float32)
    detection = Detection(
        64, 48, boxes, np.asarray([0.9, 0.8], np.float32), Timings(0, 0, 0, 0, 0, 0.25), 2
    )
    plain = ImageResult.of(detection)
    assert [face.crop for face in plain.faces] == [None, None]
    assert plain.faces[0].box.model_dump() == {"x": 1, "y": 2, "width": 10, "height": 20}
    assert (plain.image.width, plain.image.height, plain.timings_ms.total) == (64, 48, 250)
    found = ImageResult.of(detection, [b"one", b"two"])
    assert [base64.b64decode(face.crop or "") for face in found.faces] == [b"one", b"two"]
