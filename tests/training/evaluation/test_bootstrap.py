"""The paired bootstrap of two detectors."""

from pathlib import Path

import numpy as np
import pytest

from training.data.wider import Annotation
from training.evaluation.bootstrap import probability_better
from training.evaluation.curves import Detections
from training.evaluation.ground_truth import GroundTruth

COUNT = 12
FACE = np.asarray([[10.0, 10, 30, 40]])
CORNERS = np.asarray([[10.0, 10, 40, 50]])
HIT = Detections(CORNERS, np.asarray([0.9]))
WORSE = Detections(np.asarray([[10.0, 10, 40, 50], [90, 90, 120, 120]]), np.asarray([0.6, 0.8]))
FILES = [Path(f"{index}.jpg") for index in range(COUNT)]
WIDER = GroundTruth(
    "wider",
    FILES,
    0,
    annotations=[Annotation(str(n), FACE, {"hard": np.asarray([True])}) for n in range(COUNT)],
)
LINES = GroundTruth("lines", FILES, 0, boxes=[CORNERS] * COUNT)


@pytest.mark.parametrize("labels", [WIDER, LINES], ids=["wider", "lines"])
def test_the_better_detector_is_better_in_all_samples(labels: GroundTruth) -> None:
    good, bad = [HIT] * COUNT, [WORSE] * COUNT
    assert set(probability_better(labels, good, bad, 50).values()) == {1.0}
    assert set(probability_better(labels, bad, good, 50).values()) == {0.0}
    assert set(probability_better(labels, good, good, 50).values()) == {0.5}


@pytest.mark.parametrize("labels", [WIDER, LINES], ids=["wider", "lines"])
def test_better_on_half_of_the_images_is_uncertain(labels: GroundTruth) -> None:
    one = [HIT, WORSE] * (COUNT // 2)
    (share,) = probability_better(labels, one, one[::-1], 200).values()
    assert 0.2 < share < 0.8


@pytest.mark.parametrize("labels", [WIDER, LINES], ids=["wider", "lines"])
def test_with_each_image_once_it_is_the_average_precision(labels: GroundTruth) -> None:
    found = [HIT, WORSE, Detections(np.zeros((0, 4)), np.zeros(0))] * (COUNT // 3)
    weighted = labels.average_precisions(found, [np.ones(COUNT, np.int64)])
    for subset, curve in labels.curves(found).items():
        assert weighted[subset][0] == pytest.approx(curve.average_precision)


def test_an_image_that_counts_twice_is_as_two_images() -> None:
    found = [HIT, WORSE, WORSE]
    labels = GroundTruth("lines", FILES[:3], 0, boxes=[CORNERS] * 3)
    twice = GroundTruth("lines", FILES[:4], 0, boxes=[CORNERS] * 4)
    (weighted,) = labels.average_precisions(found, [np.asarray([2, 1, 1])])["all"]
    assert weighted == pytest.approx(twice.curves([HIT, *found])["all"].average_precision)
