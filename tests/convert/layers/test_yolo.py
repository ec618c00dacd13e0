"""The outputs of YOLO are refused, with what to do."""

from collections.abc import Callable

import pytest

from geometry.arrays import F32

Images = Callable[..., F32]
Problems = Callable[..., list[str]]


@pytest.mark.parametrize("kind", ["Region", "YoloDetectionOutput", "Yolov3DetectionOutput"])
def test_the_reason_is_reported(problems: Problems, images: Images, kind: str) -> None:
    text = f'layer {{ name: "new" type: "{kind}" bottom: "data" top: "new" }}'
    (found,) = problems(text, images(125, 13, 13))
    assert "decode and suppress the boxes in different ways" in found
    assert "decode data in your program" in found
