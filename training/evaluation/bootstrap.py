"""The paired bootstrap: how likely one detector's average precision is really the better one."""

from collections.abc import Sequence

import numpy as np

from training.evaluation.curves import Detections
from training.evaluation.ground_truth import GroundTruth

ROUNDS = 1000


def probability_better(
    labels: GroundTruth,
    first: Sequence[Detections],
    second: Sequence[Detections],
    rounds: int = ROUNDS,
    seed: int = 0,
) -> dict[str, float]:
    """By subset, the share of samples in which the first detector is better than the second.

    A sample draws as many images as there are, with replacement, the same for both detectors
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). A tie counts as a half.
    """
    count = len(labels.files)
    random = np.random.default_rng(seed)
    weights = [
        np.bincount(random.integers(0, count, count), minlength=count) for _ in range(rounds)
    ]
    one, other = (labels.average_precisions(found, weights) for found in (first, second))
    return {
        subset: round(float((np.sign(one[subset] - other[subset]) / 2 + 0.5).mean()), 4)
        for subset in one
    }
