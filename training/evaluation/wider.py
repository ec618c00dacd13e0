"""The official WIDER FACE protocol, from the evaluation tools of the WIDER FACE authors.

Sources: `eval_tools/evaluation.m`, `boxoverlap.m`, `norm_score.m` and `VOCap.m`
(shuoyang1213.me/WIDERFACE). Scores are stretched to 0–1 over the whole run. There are 1,000
thresholds, and three subsets: easy, medium and hard. Faces outside a subset are ignored: a
detection of one is neither right nor wrong.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from geometry.arrays import F64, I64, Bools
from training.data.wider import Annotation
from training.evaluation.curves import Curve, Detections, average_precision

THRESHOLDS = 1000


def curves(found: Mapping[str, Detections], annotations: Sequence[Annotation]) -> dict[str, Curve]:
    """A curve for each subset of the annotated images; `found` has detections by image name."""
    low, high = _score_range(found.values())
    spread = (high - low) or 1.0
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    own = thresholds * spread + low
    result = {}
    for subset in annotations[0].counted if annotations else ():
        hits, proposals, faces = (each.sum(0) for each in _counts(found, annotations, subset))
        recall, precision = _rates(hits, proposals, int(faces))
        area = average_precision(recall, precision)
        result[subset] = Curve(subset, recall, precision, own, area, int(faces))
    return result


def average_precisions(
    found: Mapping[str, Detections], annotations: Sequence[Annotation], weights: Sequence[I64]
) -> dict[str, F64]:
    """By subset, the average precision for each row of `weights`.

    A row [N] says how often each image counts. The range of the scores stays that of all images.
    """
    result = {}
    for subset in annotations[0].counted if annotations else ():
        counts = _counts(found, annotations, subset)
        areas = []
        for row in weights:
            hits, proposals, faces = (row @ each for each in counts)
            areas.append(average_precision(*_rates(hits, proposals, int(faces))))
        result[subset] = np.asarray(areas)
    return result


def _counts(
    found: Mapping[str, Detections], annotations: Sequence[Annotation], subset: str
) -> tuple[F64, F64, F64]:
    """For each image, hits and proposals [N, T] at each threshold, and counted faces [N]."""
    low, high = _score_range(found.values())
    spread = (high - low) or 1.0
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    hits = np.zeros((len(annotations), THRESHOLDS))
    proposals = np.zeros((len(annotations), THRESHOLDS))
    faces = np.zeros(len(annotations))
    for index, image in enumerate(annotations):
        counted = image.counted[subset]
        faces[index] = counted.sum()
        detections = found.get(image.name)
        if detections is None or not len(detections.scores) or not len(image.faces):
            continue
        order = np.argsort(-detections.scores, kind="stable")
        scores = (detections.scores[order] - low) / spread
        recalled, proposed = walk(detections.boxes[order], image.faces, counted)
        # The number of detections that pass each threshold.
        passing = np.searchsorted(-scores, -thresholds, side="right")
        hits[index] = np.append(0, recalled)[passing]
        proposals[index] = np.append(0, proposed.cumsum())[passing]
    return hits, proposals, faces


def _rates(hits: F64, proposals: F64, faces: int) -> tuple[F64, F64]:
    """Recall and precision at each threshold."""
    precision = np.divide(hits, proposals, out=np.zeros_like(hits), where=proposals > 0)
    return hits / max(faces, 1), precision


def walk(boxes: F64, faces: F64, counted: Bools, overlap: float = 0.5) -> tuple[I64, Bools]:
    """For detections, best first: counted faces found so far [N], and which are proposals [N].

    Each detection is matched to the face with the greatest overlap, even if that is already found.
    A detection of an ignored face is not a proposal. A second detection of a face is a false one.
    `boxes` are corners; `faces` are x1, y1, width, height.
    """
    shared = _overlaps(boxes, faces)
    best = shared.argmax(1)
    enough = shared[np.arange(len(boxes)), best] >= overlap
    ignored = enough & ~counted[best]
    hit = enough & counted[best]
    first = np.zeros(len(boxes), np.bool_)
    first[np.unique(np.where(hit, best, -1), return_index=True)[1]] = True
    return (first & hit).cumsum(), ~ignored


def _overlaps(boxes: F64, faces: F64) -> F64:
    """IoU [N, M] as in `boxoverlap.m`: a box from 1 to 3 is three pixels wide."""
    corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:]], axis=1)
    low = np.maximum(boxes[:, None, :2], corners[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], corners[None, :, 2:])
    both = (high - low + 1).clip(0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2] + 1).prod(-1) for each in (boxes, corners)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both))


def _score_range(found: Iterable[Detections]) -> tuple[float, float]:
    scores = [each.scores for each in found if len(each.scores)]
    if not scores:
        return 0.0, 1.0
    return float(min(each.min() for each in scores)), float(max(each.max() for each in scores))
