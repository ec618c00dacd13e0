"""The second look: its arithmetic, and what it does for faces that fill the frame."""

import asyncio
import dataclasses
import io
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detection import settings
from detection.detector import Detection, Detector, Query, faces_of
from detection.errors import StartError
from detection.opening import open_detector
from detection.predictions import Predictions
from detection.second_look import Frame, is_wanted, join
from detection.session import Picture
from detection.settings import DetectionSettings
from geometry.arrays import F32, F64
from geometry.boxes import iou
from geometry.coding import decode
from store import model as models
from store.model import SecondLook, Thresholds

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "service" / "static" / "sample.jpg"
LOOK = SecondLook(side=320, scale=0.4, min_side=128, trigger=0.2)
THRESHOLDS = Thresholds(default_score=0.5, nms_iou=0.3, top_k=5000, keep_top_k=750)
SIDE = 640


def predictions(*rows: tuple[float, float, float, float, float]) -> Predictions:
    """Of boxes in pixels of an input of 640 x 640, each with its score."""
    values = np.asarray(rows, np.float32).reshape(-1, 5)
    return Predictions(values[:, :4] / SIDE, values[:, 4])


def joined(first: Predictions, second: Predictions) -> Predictions:
    return join(first, second, LOOK, SIDE, SIDE)


def boxes_of(found: Predictions) -> list[list[int]]:
    boxes: list[list[int]] = (found.boxes * SIDE).round().astype(int).tolist()
    return boxes


def test_the_copy_lies_in_the_middle_on_the_mean_colour() -> None:
    pixels = np.full((SIDE, SIDE, 3), (10, 20, 30), np.uint8)
    copy = Frame.of(LOOK, SIDE, SIDE).copy(pixels, (123, 117, 104))
    assert copy.shape == (320, 320, 3)
    assert (copy[32:288, 32:288] == (10, 20, 30)).all()
    copy[32:288, 32:288] = (123, 117, 104)
    assert (copy == (123, 117, 104)).all()


def test_the_copy_of_a_gray_input_is_gray() -> None:
    pixels = np.full((480, SIDE, 1), 200, np.uint8)
    copy = Frame.of(LOOK, SIDE, 480).copy(pixels, (50, 50, 50))
    assert copy.shape == (320, 320, 1)
    assert set(np.unique(copy)) == {50, 200}
    assert (copy == 200).sum() == 256 * 192


@given(st.integers(16, 900), st.integers(16, 900), st.floats(0.05, 1), st.integers(0, 40))
def test_a_box_of_the_copy_comes_back_to_its_place(
    width: int, height: int, scale: float, spare: int
) -> None:
    side = math.ceil(max(width, height) * scale) + spare + 1
    frame = Frame.of(SecondLook(side, scale, 0, 0), width, height)
    whole = np.asarray(
        [[frame.left, frame.top, frame.left + frame.width, frame.top + frame.height]]
    )
    assert frame.restored(whole / side) == pytest.approx(np.asarray([[0, 0, 1, 1]]), abs=1e-9)
    assert frame.left >= 0
    assert frame.left + frame.width <= side


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((10, 10, 138, 138, 0.3), True),
        ((0, 0, 127, 300, 0.9), False),
        ((0, 0, 300, 300, 0.2), False),
        ((0, 0, 300, 300, 0.21), True),
        # A loose box around a smaller face.
        ((200, 200, 328, 328, 0.9), False),
    ],
)
def test_only_a_likely_large_face_asks_for_a_second_look(
    box: tuple[float, float, float, float, float], wanted: bool
) -> None:
    first = predictions((0, 0, 20, 20, 0.99), (210, 210, 318, 318, 0.95), box)
    assert is_wanted(first, LOOK, SIDE, SIDE) is wanted


def test_a_whole_face_replaces_its_parts_and_only_those() -> None:
    first = predictions(
        (100, 100, 550, 300, 0.8),  # The upper half of the face.
        (100, 300, 550, 560, 0.7),  # The lower half.
        (0, 0, 60, 60, 0.9),  # Another face beside it.
        (500, 500, 700, 700, 0.6),  # Half of it lies outside.
    )
    both = joined(first, predictions((90, 90, 560, 570, 0.95)))
    assert boxes_of(both) == [[0, 0, 60, 60], [500, 500, 700, 700], [90, 90, 560, 570]]
    assert both.looks == 2


def test_a_better_box_inside_stays_and_so_does_one_of_like_size() -> None:
    first = predictions((100, 100, 300, 300, 0.9), (100, 100, 540, 540, 0.5))
    both = joined(first, predictions((90, 90, 560, 570, 0.8)))
    assert len(both.scores) == 3


def test_a_large_face_of_the_second_look_counts_once_and_a_small_one_never() -> None:
    second = predictions((90, 90, 560, 570, 0.8), (95, 95, 560, 570, 0.9), (0, 0, 100, 100, 0.99))
    both = joined(predictions(), second)
    assert boxes_of(both) == [[95, 95, 560, 570]]


box = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 400), st.integers(1, 400))
scored = st.tuples(box, st.integers(0, 100)).map(
    lambda row: (
        float(row[0][0]), float(row[0][1]), float(row[0][0] + row[0][2]),
        float(row[0][1] + row[0][3]), row[1] / 100,
    )
)  # fmt: skip


@given(st.lists(scored, max_size=12), st.lists(scored, max_size=12), st.integers(1, 99))
def test_a_higher_threshold_only_removes_faces(
    one: list[tuple[float, float, float, float, float]],
    other: list[tuple[float, float, float, float, float]],
    threshold: int,
) -> None:
    both = joined(predictions(*one), predictions(*other))
    low, high = (
        set(faces_of(both, THRESHOLDS, Query(min_score=score)).tolist())
        for score in (0.0, threshold / 100)
    )
    assert high <= low
    assert high == {index for index in low if both.scores[index] > np.float32(threshold / 100)}


# The real model.


@pytest.fixture(scope="module")
def detectors(built_model: Path) -> Iterator[Callable[[bool], Detector]]:
    """The default model's detector, with or without second looks."""
    opened: dict[bool, Detector] = {}

    def make(second_look: bool) -> Detector:
        if second_look not in opened:
            chosen = settings.load(
                DetectionSettings, provider="cpu", decoding="threads", second_look=second_look
            )
            opened[second_look] = open_detector(models.load(built_model.parent), chosen)
        return opened[second_look]

    yield make
    for each in opened.values():
        asyncio.run(each.close())


def detect(detector: Detector, image: Image.Image) -> Detection:
    file = io.BytesIO()
    image.save(file, "PNG")
    (found,) = asyncio.run(detector.detect_all([file.getvalue()], Query(), math.inf))
    assert isinstance(found, Detection)
    return found


def portrait(face: F64, margin: float) -> Image.Image:
    """The photograph of the demo page around its face, with a margin as a share of the face."""
    with Image.open(SAMPLE) as file:
        image = file.convert("RGB")
    x1, y1, x2, y2 = face
    wide, high = (x2 - x1) * margin, (y2 - y1) * margin
    return image.crop((round(x1 - wide), round(y1 - high), round(x2 + wide), round(y2 + high)))


@pytest.fixture(scope="module")
def face(detectors: Callable[[bool], Detector]) -> F64:
    """The face of the demo page's photograph, which is not large."""
    with Image.open(SAMPLE) as file:
        found = detect(detectors(False), file.convert("RGB"))
    return np.asarray(found.boxes[0], np.float64)


@pytest.mark.parametrize("margin", [0.5, 0.25, 0.1, 0.0])
def test_a_portrait_has_one_face_at_any_margin(
    margin: float,
    face: F64,
    detectors: Callable[[bool], Detector],
) -> None:
    x1, y1, x2, y2 = face
    wide, high = (x2 - x1) * margin, (y2 - y1) * margin
    found = detect(detectors(True), portrait(face, margin))
    expected = np.asarray([[wide, high, wide + x2 - x1, high + y2 - y1]])
    assert len(found.boxes) == 1
    assert iou(expected, found.boxes)[0, 0] > 0.7


def test_without_it_a_portrait_is_seen_in_parts(
    face: F64, detectors: Callable[[bool], Detector]
) -> None:
    """Otherwise the test above would show nothing."""
    x1, y1, x2, y2 = face
    margin = 0.1
    wide, high = (x2 - x1) * margin, (y2 - y1) * margin
    found = detect(detectors(False), portrait(face, margin))
    expected = np.asarray([[wide, high, wide + x2 - x1, high + y2 - y1]])
    assert len(found.boxes) != 1 or iou(expected, found.boxes)[0, 0] < 0.7


def test_the_second_network_equals_opencv(
    built_model: Path,
    face: F64,
    detectors: Callable[[bool], Detector],
) -> None:
    """OpenCV reads the prototxt at the second look's size, and both predict the same."""
    model = models.load(built_model.parent)
    session = detectors(True).session
    assert model.second_look is not None
    assert session.second is not None
    side = model.second_look.side
    pixels = np.asarray(portrait(face, 0.5).resize((side, side)))
    boxes, scores = session.second.run(["boxes", "scores"], {"images": pixels[None]})
    net = cv2.dnn.readNetFromCaffe(str(model.deploy), str(model.weights))
    net.setInput(
        cv2.dnn.blobFromImage(pixels, mean=model.input.mean, swapRB=True, size=(side, side))
    )
    tops = net.forward(["mbox_loc_", "mbox_conf_flatten", "mbox_priorbox"])
    loc, conf, priors = (np.asarray(top, np.float32) for top in tops)
    corners, variances = priors.reshape(2, -1, 4)
    expected = decode(loc.reshape(-1, 4), corners, variances)
    assert scores[0, :, 0] == pytest.approx(conf.reshape(-1, 2)[:, 1], abs=1e-4)
    assert boxes[0] == pytest.approx(expected, abs=1e-4)


def test_pixels_of_the_inference_protocol_get_one_look(
    face: F64, detectors: Callable[[bool], Detector]
) -> None:
    session = detectors(True).session
    pixels = np.asarray(portrait(face, 0.25).resize((SIDE, SIDE)))
    once, twice = session.look([Picture(pixels), Picture(pixels, second_look=True)])
    assert (once.looks, twice.looks) == (1, 2)
    assert len(once.scores) == session.onnx.get_outputs()[0].shape[1]


def test_scores_that_are_not_numbers_are_an_error_of_the_second_look_too(
    face: F64, detectors: Callable[[bool], Detector]
) -> None:
    class Broken:
        def run(self, *_: object) -> list[F32]:
            return [np.zeros((1, 5, 4), np.float32), np.full((1, 5, 1), np.nan, np.float32)]

    session = dataclasses.replace(detectors(True).session, second=Broken())
    pixels = np.asarray(portrait(face, 0.25).resize((SIDE, SIDE)))
    with pytest.raises(FloatingPointError, match="not numbers"):
        session.look([Picture(pixels, second_look=True)])
    with pytest.raises(StartError, match="the model does not run"):
        session.warm_up({1})


def test_the_service_counts_second_looks(
    running_service: Callable[..., AbstractContextManager[str]],
    face: F64,
) -> None:
    files = []
    for image in (portrait(face, 0.25), Image.new("RGB", (300, 200))):
        file = io.BytesIO()
        image.save(file, "PNG")
        files.append(file.getvalue())
    with running_service() as url:
        answers = [httpx.post(f"{url}/detect", content=each, timeout=60) for each in files]
        assert [len(each.json()["faces"]) for each in answers] == [1, 0]
        metrics = httpx.get(f"{url}/metrics").text
    assert "\nsfd_second_looks_total 1.0\n" in metrics
