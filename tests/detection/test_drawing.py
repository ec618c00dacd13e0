import numpy as np
import pytest
from PIL import Image

from detection.drawing import COLOUR, draw_boxes


def painted(drawn: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.asarray((np.asarray(drawn) == COLOUR).all(-1))


def test_the_box_is_drawn_on_a_copy() -> None:
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    drawn = draw_boxes(
        image, np.asarray([[100, 100, 200, 220]], np.float32), np.asarray([0.9], np.float32)
    )
    mask = painted(drawn)
    assert mask[160, 100]
    assert mask[160, 199]
    assert not mask[160, 150]
    assert (np.asarray(image) == 90).all()


@pytest.mark.parametrize(("side", "least", "most"), [(200, 2, 2), (4000, 8, 12)])
def test_lines_grow_with_the_image(side: int, least: int, most: int) -> None:
    box = np.asarray([[side * 0.25, side * 0.25, side * 0.75, side * 0.75]], np.float32)
    drawn = draw_boxes(Image.new("RGB", (side, side)), box, np.asarray([0.5], np.float32))
    row = painted(drawn)[side // 2, : side // 2]
    assert least <= row.sum() <= most


def test_lines_stop_growing_on_a_very_long_image() -> None:
    box = np.asarray([[1000, 300, 2000, 1100]], np.float32)
    drawn = draw_boxes(Image.new("RGB", (60_000, 1200)), box, np.asarray([0.5], np.float32))
    assert 16 <= painted(drawn)[700, :1500].sum() <= 24


@pytest.mark.parametrize(
    "box", [[0, 0, 400, 300], [380, 0, 400, 20], [0, 280, 10, 300], [395, 295, 396, 296]]
)
def test_a_label_at_the_edge_of_the_image_stays_inside(box: list[float]) -> None:
    image = Image.new("RGB", (400, 300))
    drawn = draw_boxes(image, np.asarray([box], np.float32), np.asarray([0.99], np.float32))
    labels = [draw_boxes(image, np.asarray([[150, 150, 151, 151]], np.float32),
                         np.asarray([0.99], np.float32))]  # fmt: skip
    assert painted(drawn).sum() >= painted(labels[0]).sum() * 0.9
