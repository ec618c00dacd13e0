import numpy as np
import pytest
from PIL import Image

from service.letterboxing import letterbox

MEAN = (123, 117, 104)


def test_the_padding_is_the_mean_colour_and_the_picture_is_centred() -> None:
    pixels, box = letterbox(Image.new("RGB", (64, 32), "white"), 64, 64, 3, MEAN)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert (box.left, box.top) == (0, 16)
    assert (pixels[16:48] == 255).all()
    assert (pixels[:16] == MEAN).all()
    assert (pixels[48:] == MEAN).all()


def test_a_picture_of_the_inputs_size_passes_unchanged() -> None:
    values = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    pixels, _ = letterbox(Image.fromarray(values), 64, 48, 3, MEAN)
    assert np.array_equal(pixels, values)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7), (2000, 1000)])
def test_any_size_fits(size: tuple[int, int]) -> None:
    pixels, box = letterbox(Image.new("RGB", size, "white"), 64, 48, 3, MEAN)
    assert pixels.shape == (48, 64, 3)
    inside = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    assert (inside == 255).all()


def test_a_gray_network_gets_one_channel() -> None:
    pixels, _ = letterbox(Image.new("RGB", (8, 8), "white"), 16, 16, 1, MEAN)
    assert pixels.shape == (16, 16, 1)
