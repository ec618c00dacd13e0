"""The data layer: pictures are augmented, and boxes stay on their faces."""

from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convert.caffe import network as caffe
from convert.caffe.caffe_pb2 import DistortionParameter, TransformationParameter
from convert.caffe.network import CaffeError
from training.data.annotated import AnnotatedData, distort
from training.data.dataset import LabelledImage
from training.data.images import DatasetError


@pytest.fixture(scope="module")
def data(tiny: Path) -> AnnotatedData:
    network = caffe.load(tiny / "train.prototxt", None, phase="TRAIN")
    return AnnotatedData.of_network(network, "train.prototxt")


@pytest.fixture
def square(tmp_path: Path) -> LabelledImage:
    """A white square on black, with its box."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[20:60, 120:180] = 255
    path = tmp_path / "square.png"
    Image.fromarray(pixels).save(path)
    return LabelledImage(path, path.name, np.asarray([[120, 20, 180, 60]], np.float32))


@pytest.mark.parametrize("seed", range(12))
def test_a_face_stays_on_its_pixels(data: AnnotatedData, square: LabelledImage, seed: int) -> None:
    pixels, faces = data.example(square, np.random.default_rng(seed))
    assert pixels.shape == (3, 128, 128)
    assert len(faces) == 1
    x1, y1, x2, y2 = (faces[0] * 128).round().astype(int)
    bright = pixels.mean(0) > 0
    assert bright[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() > 0.95
    assert bright.sum() <= (y2 - y1 + 4) * (x2 - x1 + 4)


def test_the_same_seed_gives_the_same_example(data: AnnotatedData, square: LabelledImage) -> None:
    one, other = (data.example(square, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_a_file_that_is_not_an_image_is_named(data: AnnotatedData, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    labelled = LabelledImage(path, path.name, None)
    with pytest.raises(DatasetError, match=r"text\.jpg"):
        data.example(labelled, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("resize_mode: WARP", "resize_mode: FIT_SMALL_SIZE", "WARP"),
        ("transform_param {", "transform_param { force_gray: true", "force_gray"),
        ("transform_param {", "transform_param { crop_h: 9 crop_w: 9", "crop_h or crop_w"),
        ("batch_size: ", "prefetch: ", "without a batch_size"),
    ],
)
def test_unsupported_settings_are_refused(
    tiny: Path, tmp_path: Path, before: str, after: str, says: str
) -> None:
    path = tmp_path / "train.prototxt"
    text = (tiny / "train.prototxt").read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    network = caffe.load(path, None, phase="TRAIN", input_size=128)
    with pytest.raises(CaffeError, match=says):
        AnnotatedData.of_network(network, str(path))


@pytest.mark.parametrize(("stated", "kept"), [(True, 1), (False, 2)])
def test_faces_that_a_part_cuts_are_kept_unless_the_constraint_is_stated(
    data: AnnotatedData, tmp_path: Path, stated: bool, kept: int
) -> None:
    """The left half of the picture has one whole face, and a third of another."""
    Image.new("RGB", (90, 90)).save(tmp_path / "two.png")
    boxes = np.asarray([[5, 5, 25, 25], [35, 35, 65, 65]], np.float32)
    labelled = LabelledImage(tmp_path / "two.png", "two.png", boxes)
    transform = TransformationParameter()
    transform.CopyFrom(data.transform)
    transform.ClearField("emit_constraint")
    if stated:
        transform.emit_constraint.SetInParent()
    own = replace(data, transform=transform)
    half = np.asarray([0, 0, 0.5, 1], np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.data.annotated.draw", lambda *_: half)
        _, faces = own.example(labelled, np.random.default_rng(0))
    assert len(faces) == kept


@pytest.mark.parametrize(
    ("settings", "gray"),
    [
        ({"saturation_prob": 1.0, "saturation_lower": 0.0, "saturation_upper": 0.0}, True),
        ({"hue_prob": 1.0, "hue_delta": 18.0}, False),
    ],
)
def test_colours_are_distorted_by_the_settings(settings: dict[str, float], gray: bool) -> None:
    picture = Image.new("RGB", (4, 4), (200, 40, 40))
    parameter = DistortionParameter(**settings)
    found = np.asarray(distort(picture, parameter, np.random.default_rng(1)), np.int64)
    assert (np.ptp(found, axis=-1) <= 2).all() == gray
    assert abs(int(found.max()) - 200) <= 3


def distorted(
    colour: tuple[int, int, int], parameter: DistortionParameter
) -> Counter[tuple[int, ...]]:
    """How often a pixel gets each colour, over two hundred seeds."""
    picture = Image.new("RGB", (1, 1), colour)
    found = [distort(picture, parameter, np.random.default_rng(seed)) for seed in range(200)]
    return Counter(tuple(np.asarray(each)[0, 0].tolist()) for each in found)


def test_contrast_comes_second_or_last_with_equal_chance() -> None:
    parameter = DistortionParameter(
        contrast_prob=1.0,
        contrast_lower=2.0,
        contrast_upper=2.0,
        saturation_prob=1.0,
        saturation_lower=0.5,
        saturation_upper=0.5,
    )
    found = distorted((200, 40, 40), parameter)
    # (255, 80, 80) with half the saturation, or (200, 120, 120) times 2.
    assert sorted(found) == [(255, 167, 167), (255, 240, 240)]
    assert 70 < found[(255, 240, 240)] < 130


def test_channels_are_shuffled_with_the_given_chance() -> None:
    colour = (200, 120, 40)
    assert set(distorted(colour, DistortionParameter(random_order_prob=0.0))) == {colour}
    always = distorted(colour, DistortionParameter(random_order_prob=1.0))
    assert set(always) == set(permutations(colour))
    assert all(15 < count < 55 for count in always.values())
    half = distorted(colour, DistortionParameter(random_order_prob=0.5))
    # One of six shuffles changes nothing.
    assert 90 < half[colour] < 145


def test_a_hue_below_red_saturates_at_red() -> None:
    found = distorted((200, 40, 40), DistortionParameter(hue_prob=1.0, hue_delta=18.0))
    assert all(green >= blue for _, green, blue in found)
    assert 70 < found[(200, 40, 40)] < 130


def test_without_settings_nothing_is_distorted() -> None:
    picture = Image.new("RGB", (4, 4), (200, 40, 40))
    found = distort(picture, DistortionParameter(), np.random.default_rng(1))
    assert np.array_equal(np.asarray(found), np.asarray(picture))
