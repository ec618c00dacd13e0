"""Looks at labelled images with one detector, and works out the figures of its result."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.evaluation import false_boxes, kept, recall
from training.evaluation.curves import Curve, Detections, at_score, best_f1_score
from training.evaluation.ground_truth import GroundTruth
from training.evaluation.predictor import Predictor


@dataclass(frozen=True)
class Measurement:
    """What one detector found in the labelled images."""

    found: Sequence[Detections]
    curves: Mapping[str, Curve]
    figures: Mapping[str, Any]
    """The members `subsets`, `recall` and `false_boxes` of a result."""
    seconds: float


def look(
    predictor: Predictor, files: Sequence[Path], min_score: float, keep: Path | None = None
) -> list[Detections]:
    """The faces of each file, with a progress bar on a terminal.

    With `keep`, a folder, detections are kept there as they are made, and those that are there
    already are used.
    """
    with tqdm(
        total=len(files),
        desc=predictor.name,
        unit="image",
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:

        def done(index: int, found: Detections) -> None:
            bar.update()

        if keep is None:
            return predictor.predict(files, min_score, done)
        with kept.opened(keep, predictor, min_score) as file:
            return file.predict(predictor, files, min_score, done)


def measure(
    predictor: Predictor,
    labels: GroundTruth,
    min_score: float,
    score: float | None = None,
    keep: Path | None = None,
) -> Measurement:
    """Everything that is measured on labelled images; `score` is the detector's own by default."""
    started = time.monotonic()
    found = look(predictor, labels.files, min_score, keep)
    seconds = time.monotonic() - started
    at = predictor.default_score if score is None else score
    curves = labels.curves(found)
    figures: dict[str, Any] = {
        "subsets": {
            name: _subset(curve, predictor.default_score) for name, curve in curves.items()
        },
        "recall": recall.by_group(labels.files, found, labels.faces, labels.attributes, at),
    }
    empty = false_boxes.count(found, labels.faces, at, curves)
    if empty is not None:
        figures["false_boxes"] = empty
    return Measurement(found, curves, figures, seconds)


def _subset(curve: Curve, score: float) -> dict[str, Any]:
    precision, found = at_score(curve, score)
    return {
        "average_precision": round(curve.average_precision, 4),
        "faces": curve.faces,
        "precision_at_default_score": round(precision, 4),
        "recall_at_default_score": round(found, 4),
        "best_f1_score": round(best_f1_score(curve), 3),
    }
