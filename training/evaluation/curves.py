"""Precision-recall curves and the area under them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geometry.arrays import F64, I64, Bools
from geometry.boxes import iou


@dataclass(frozen=True)
class Detections:
    """The faces that a detector found in one image, best first."""

    boxes: F64
    """[N, 4] as x1, y1, x2, y2 in pixels."""
    scores: F64
    """[N]."""


@dataclass(frozen=True)
class Curve:
    """Precision and recall [T] by falling score threshold, and the area under the curve."""

    name: str
    recall: F64
    precision: F64
    thresholds: F64
    """[T]: detections with at least this score count, in the detector's own scores."""
    average_precision: float
    faces: int


def average_precision(recall: F64, precision: F64) -> float:
    """The area under the curve with monotone precision, as PASCAL VOC's and WIDER FACE's `VOCap`.

    Each precision is replaced by the best one at the same or a greater recall. The area is the sum
    over all steps of recall, from 0.
    """
    stops = np.concatenate([[0.0], recall, [1.0]])
    heights = np.concatenate([[0.0], np.nan_to_num(precision), [0.0]])
    heights = np.maximum.accumulate(heights[::-1])[::-1]
    steps = np.flatnonzero(stops[1:] != stops[:-1])
    return float(((stops[steps + 1] - stops[steps]) * heights[steps + 1]).sum())


def match(found: Detections, faces: F64, overlap: float = 0.5) -> Bools:
    """Which detections [N] are true positives.

    Best first, each detection takes the free face with the greatest IoU, if that is at least
    `overlap`. Each face is found only once, as in COCO.
    """
    true = np.zeros(len(found.scores), np.bool_)
    if not len(faces) or not len(found.scores):
        return true
    shared = iou(found.boxes, faces)
    free = np.ones(len(faces), np.bool_)
    for index in np.argsort(-found.scores, kind="stable"):
        candidates = np.where(free, shared[index], -1.0)
        best = int(candidates.argmax())
        if candidates[best] >= overlap:
            true[index] = True
            free[best] = False
    return true


def precision_recall(
    found: Sequence[Detections], faces: Sequence[F64], name: str = "faces", overlap: float = 0.5
) -> Curve:
    """The exact curve over all scores, for images in which every face is labelled.

    `faces` has boxes [N, 4] for each image. All detections in images without faces are false.
    """
    total = sum(len(boxes) for boxes in faces)
    scores = np.concatenate([each.scores for each in found]) if found else np.zeros(0)
    true = (
        np.concatenate(
            [match(each, boxes, overlap) for each, boxes in zip(found, faces, strict=True)]
        )
        if found
        else np.zeros(0, np.bool_)
    )
    order = np.argsort(-scores, kind="stable")
    hits = true[order].cumsum()
    recall = hits / max(total, 1)
    precision = hits / np.arange(1, len(hits) + 1)
    # A threshold can't separate equal scores, so only the last of them is a point of the curve.
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    recall, precision = recall[last], precision[last]
    area = average_precision(recall, precision)
    return Curve(name, recall, precision, scores[order][last], area, total)


def weighted_average_precisions(
    found: Sequence[Detections], faces: Sequence[F64], weights: Sequence[I64]
) -> F64:
    """As `precision_recall`, the average precision for each row of `weights`.

    A row [N] says how often each image counts.
    """
    scores = np.concatenate([each.scores for each in found])
    true = np.concatenate([match(each, own) for each, own in zip(found, faces, strict=True)])
    image = np.repeat(np.arange(len(found)), [len(each.scores) for each in found])
    order = np.argsort(-scores, kind="stable")
    true, image = true[order], image[order]
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else order
    counts = np.asarray([len(each) for each in faces])
    areas = []
    for row in weights:
        made = row[image].cumsum()[last]
        hits = (row[image] * true).cumsum()[last]
        precision = np.divide(hits, made, out=np.zeros(len(made)), where=made > 0)
        areas.append(average_precision(hits / max(int(row @ counts), 1), precision))
    return np.asarray(areas)


def at_score(curve: Curve, score: float) -> tuple[float, float]:
    """Precision and recall of detections with at least this score; 1 and 0 if there are none."""
    count = int((curve.thresholds >= score).sum())
    if count == 0:
        return 1.0, 0.0
    return float(curve.precision[count - 1]), float(curve.recall[count - 1])


def best_f1_score(curve: Curve) -> float:
    """The score with the greatest F1; 1 if there are no detections."""
    if not len(curve.thresholds):
        return 1.0
    both = curve.precision + curve.recall
    f1 = 2 * curve.precision * curve.recall / np.where(both > 0, both, 1)
    return float(curve.thresholds[int(f1.argmax())])
