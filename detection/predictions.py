"""What a network predicts for one image."""

from dataclasses import dataclass

from geometry.arrays import Floats


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions for one image, before any threshold.

    `boxes` [priors, 4] as x1, y1, x2, y2 in fractions of the input, `scores` [priors].
    """

    boxes: Floats
    scores: Floats
    looks: int = 1
    """Inferences behind them: 2 with a second look."""
