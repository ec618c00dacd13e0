"""How well the faces of two networks agree."""

from pathlib import Path

import numpy as np
import pytest

from detection.agreement import BOUNDS, agrees, builtin_pictures, match, measure
from detection.detector import Query, faces_of
from detection.precision import Precision
from detection.predictions import Predictions
from detection.providers import ProviderName
from detection.session import open_session
from store import model as models
from store.model import Model

FACES = ((0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.9, 0.9))


@pytest.fixture
def model(store: Path) -> Model:
    """Its default score is 0.5."""
    return models.load(store / "cells")


def predicted(*faces: tuple[tuple[float, float, float, float], float]) -> Predictions:
    boxes = np.asarray([box for box, _ in faces], np.float32).reshape(-1, 4)
    return Predictions(boxes, np.asarray([score for _, score in faces], np.float32))


def moved(box: tuple[float, float, float, float], by: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return x1 + by, y1, x2 + by, y2


def test_each_face_is_compared_with_the_one_at_its_place(model: Model) -> None:
    expected = predicted((FACES[0], 0.9), (FACES[1], 0.8))
    found = predicted((moved(FACES[1], 0.04), 0.95), (FACES[0], 0.7))
    overlaps, differences, count = match(model, expected, found)
    assert overlaps == pytest.approx([1, 0.36 / 0.44], abs=1e-4)
    assert differences == pytest.approx([0.2, 0.15])
    assert count == 2


def test_a_face_has_at_most_one_partner(model: Model) -> None:
    expected = predicted(((0, 0, 0.22, 0.2), 0.9), ((0.16, 0, 0.4, 0.2), 0.8))
    overlaps, _, _ = match(model, expected, predicted(((0, 0, 0.4, 0.2), 0.9)))
    assert overlaps == pytest.approx([0, 0.6], abs=1e-4)


def test_a_face_that_one_side_lacks_has_no_partner(model: Model) -> None:
    overlaps, _, count = match(model, predicted((FACES[0], 0.9)), predicted((FACES[1], 0.9)))
    assert (overlaps.tolist(), count) == ([0], 1)


@pytest.mark.parametrize("precision", Precision)
def test_equal_faces_agree_in_every_precision(model: Model, precision: Precision) -> None:
    same = [predicted((FACES[0], 0.9)), predicted()]
    assert agrees(model, precision, same, same)


@pytest.mark.parametrize("precision", Precision)
def test_a_score_beyond_the_bound_does_not_agree(model: Model, precision: Precision) -> None:
    bound = BOUNDS[precision].score
    expected = [predicted((FACES[0], 0.8))]
    assert agrees(model, precision, expected, [predicted((FACES[0], 0.8 - 0.9 * bound))])
    assert not agrees(model, precision, expected, [predicted((FACES[0], 0.8 - 1.1 * bound))])


@pytest.mark.parametrize("precision", Precision)
def test_a_box_beyond_the_bound_does_not_agree(model: Model, precision: Precision) -> None:
    expected = [predicted((FACES[1], 0.8))]
    # Moved by d, boxes of width 0.4 have the IoU (0.4 - d) / (0.4 + d).
    limit = 0.4 * (1 - BOUNDS[precision].iou) / (1 + BOUNDS[precision].iou)
    assert agrees(model, precision, expected, [predicted((moved(FACES[1], 0.9 * limit), 0.8))])
    assert not agrees(model, precision, expected, [predicted((moved(FACES[1], 1.1 * limit), 0.8))])


def test_a_face_that_only_one_side_has_does_not_agree(model: Model) -> None:
    one, both = [predicted((FACES[0], 0.9))], [predicted((FACES[0], 0.9), (FACES[1], 0.9))]
    assert not agrees(model, Precision.INT8, one, both)
    assert not agrees(model, Precision.INT8, both, one)


def test_a_face_that_falls_just_below_the_threshold_agrees(model: Model) -> None:
    assert agrees(
        model, Precision.BFLOAT16, [predicted((FACES[0], 0.51))], [predicted((FACES[0], 0.49))]
    )


def test_the_measurement_counts_the_faces_of_all_images(model: Model) -> None:
    reference = [predicted((FACES[0], 0.9), (FACES[1], 0.8)), predicted((FACES[0], 0.7))]
    other = [predicted((FACES[0], 0.85)), predicted((FACES[0], 0.7), (FACES[1], 0.6))]
    found = measure(model, reference, other)
    assert found is not None
    assert (found.images, found.faces, found.matched, found.extra) == (2, 3, 0.6667, 1)
    assert (found.iou_median, found.iou_p5, found.score_difference) == (1, 1, 0.05)


def test_without_a_face_nothing_can_be_measured(model: Model) -> None:
    assert measure(model, [predicted()], [predicted((FACES[0], 0.9))]) is None


def test_the_builtin_pictures_show_faces_of_several_sizes(built_model: Path) -> None:
    session = open_session(models.load(built_model.parent), ProviderName.CPU, 2, 1)
    whole, mosaic = (session.run([each])[0] for each in builtin_pictures(session.model))
    limits = session.model.thresholds
    assert len(faces_of(whole, limits, Query())) == 1
    kept = faces_of(mosaic, limits, Query())
    heights = mosaic.boxes[kept, 3] - mosaic.boxes[kept, 1]
    assert len(kept) >= 3
    assert heights.max() > 2 * heights.min()
