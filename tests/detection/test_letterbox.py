import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.images import decode_to_fit
from detection.letterbox import letterbox
from detection.orientation import Turn, turned

MEAN = (123, 117, 104)
PHOTO = Path(__file__).resolve().parents[2] / "service/static/sample.jpg"


def test_the_padding_is_the_mean_colour_and_the_picture_is_centred() -> None:
    pixels, box = letterbox(Image.new("RGB", (64, 32), "white"), 64, 64, 3, MEAN)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert (box.left, box.top) == (0, 16)
    assert (pixels[16:48] == 255).all()
    assert (pixels[:16] == MEAN).all()
    assert (pixels[48:] == MEAN).all()


def test_a_picture_of_the_inputs_size_is_not_changed() -> None:
    values = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    pixels, _ = letterbox(Image.fromarray(values), 64, 48, 3, MEAN)
    assert np.array_equal(pixels, values)


def test_a_picture_that_shrinks_is_averaged_not_sampled() -> None:
    """A board of black and white pixels is gray from afar."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    pixels, _ = letterbox(Image.fromarray(board).convert("RGB"), 64, 64, 3, MEAN)
    assert np.abs(pixels[1:-1, 1:-1].astype(int) - 127).max() <= 4


def test_an_enlarged_picture_is_smooth() -> None:
    pixels, _ = letterbox(Image.fromarray(np.asarray([[0, 200]] * 2, np.uint8)).convert("RGB"),
                          64, 64, 3, MEAN)  # fmt: skip
    steps = np.diff(pixels[32, :, 0].astype(int))
    assert 0 <= steps.min() <= steps.max() <= 8


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7), (2000, 1000)])
def test_any_size_fits(size: tuple[int, int]) -> None:
    pixels, box = letterbox(Image.new("RGB", size, "white"), 64, 48, 3, MEAN)
    assert pixels.shape == (48, 64, 3)
    inside = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    assert (inside == 255).all()


def test_a_gray_network_gets_one_channel() -> None:
    """By the luma of ITU-R BT.601, in the padding too."""
    pixels, _ = letterbox(Image.new("RGB", (16, 8), (200, 100, 50)), 16, 16, 1, MEAN)
    assert pixels.shape == (16, 16, 1)
    for rows, (red, green, blue) in ((pixels[4:12], (200, 100, 50)), (pixels[:4], MEAN)):
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        assert np.abs(rows - luma).max() <= 1


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
@pytest.mark.parametrize(
    "size", [(301, 200), (200, 301), (300, 300), (201, 200), (20, 11), (1, 300)], ids=str
)
def test_a_turned_picture_is_the_same_as_if_it_had_been_turned_first(
    size: tuple[int, int], turn: Turn
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    stored = Image.fromarray(values)
    pixels, box = letterbox(stored, 64, 48, 3, MEAN, turn=turn)
    expected, expected_box = letterbox(turned(stored, turn), 64, 48, 3, MEAN)
    assert np.array_equal(pixels, expected)
    assert box == expected_box


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("size", [(641, 427), (1281, 855), (640, 479), (515, 1023)], ids=str)
def test_a_jpeg_decoded_at_a_reduced_scale_lies_where_the_full_one_does(
    size: tuple[int, int], orientation: int
) -> None:
    """Also if its sides are not multiples of the reduction: libjpeg rounds the small sides up."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    with Image.open(PHOTO) as photo:
        photo.resize(size).save(file, "JPEG", quality=95, exif=exif)
    seen = []
    for box in (None, (128, 128)):
        found = decode_to_fit(file.getvalue(), box, max_pixels=10**7, background=MEAN)
        pixels, placed = letterbox(
            found.stored,
            64,
            64,
            3,
            MEAN,
            turn=found.turn,
            reduction=found.reduction,
            full_size=(found.width, found.height),
        )
        seen.append((found.reduction, placed, pixels.astype(int)))
    (none, expected_place, expected), (reduction, place, pixels) = seen
    assert (none, place) == (1, expected_place)
    assert reduction > 1
    assert np.abs(pixels - expected).mean() < 0.5
