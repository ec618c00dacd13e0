"""Caffe's DetectionOutput in NumPy, and whether two answers to one image are the same.

Two engines round differently. So one may keep a detection that the other drops: its score may be
equal to the threshold but for rounding, its overlap equal to the NMS threshold, or two scores may
tie. No bound is loosened for that. First all candidates must agree: their scores within
SCORE_BOUND, their boxes by IOU_BOUND. Only then may a detection be missing on one side, and only
if rounding is shown to decide whether it is kept.

Where the reference's two answers differ by more than the bounds, the bounds become as wide as that
difference: see `Bounds.widened`.

Noise makes small networks find boxes of a hundredth of a pixel. Their IoU is lost in the rounding
of float32. So the corners of boxes less than a pixel wide or high must agree within CORNER_BOUND.
No real detection is that small.
"""

from collections.abc import Set
from dataclasses import dataclass, replace

import numpy as np

from convert.outputs.detection_output import DetectionOutput
from geometry.arrays import F32, F64, Bools, Floats
from geometry.boxes import area, clip, iou
from geometry.coding import decode
from geometry.nms import nms

SCORE_BOUND = 1e-4
IOU_BOUND = 0.999
CORNER_BOUND = 0.01
"""How far the corners of a tiny box may differ, in pixels of the input."""
FAR_BOUND = 1e-4
"""How much further they may differ for each image width or height that they lie outside."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far two answers to one image may differ."""

    pixel: tuple[float, float]
    """Width and height of a pixel of the input, in fractions of the input."""
    score: float = SCORE_BOUND
    iou: float = IOU_BOUND

    @property
    def overlap(self) -> float:
        """How much the IoU of two boxes can change if each is replaced by one that agrees with it.

        1 - IoU is a metric, so the triangle inequality holds.
        """
        return 2 * (1 - self.iou)

    def widened(
        self, detection: DetectionOutput, one: "Candidates", other: "Candidates"
    ) -> "Bounds":
        """Bounds that two answers of the reference itself keep.

        Untrained weights can make logits of many hundreds. Then float32 can't hold a probability
        to 1e-4, and OpenCV's two ways to convolve differ by more than that.
        """
        chosen = _chosen(detection, one, other)
        scores = np.abs(one.scores - other.scores)[chosen].max(initial=0)
        agreement = _agreement(one.boxes[chosen], other.boxes[chosen], self).min(initial=1)
        return replace(
            self, score=max(self.score, float(scores)), iou=min(self.iou, float(agreement))
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """What NMS chooses from in one image: boxes [classes, P, 4], scores [classes, P].

    Classes are those of the foreground, in the order of their labels.
    """

    boxes: F32
    scores: F32


@dataclass(frozen=True, slots=True)
class Verdict:
    """How two answers compare."""

    passed: bool
    difference: float
    """The largest score difference."""
    note: str


def decode_candidates(detection: DetectionOutput, loc: F32, conf: F32, priors: F32) -> Candidates:
    """Candidates of one image from flat `loc` and `conf` and `priors` [1, 2, P * 4]."""
    boxes, variances = priors.reshape(2, -1, 4)
    codes = loc.reshape(len(boxes), detection.location_classes, 4).transpose(1, 0, 2)
    if not detection.share_location:
        codes = codes[list(detection.labels)]
    decoded = decode(
        codes, boxes, variances, detection.code_type, detection.variance_encoded_in_target
    )
    if detection.clip:
        decoded = clip(decoded.reshape(-1, 4), 1, 1).reshape(decoded.shape)
    scores = conf.reshape(len(boxes), detection.classes).T[list(detection.labels)]
    return from_heads(decoded, scores.T)


def from_heads(boxes: Floats, scores: F32) -> Candidates:
    """Candidates from `boxes` [P, 4] or [classes, P, 4] and `scores` [P, classes]."""
    by_class = scores.T
    all_boxes = np.broadcast_to(boxes, (len(by_class), *boxes.shape[-2:]))
    return Candidates(all_boxes.astype(np.float32), by_class.astype(np.float32))


def detect(detection: DetectionOutput, found: Candidates) -> F32:
    """Caffe's rows [n, 7] for one image: 0, label, score, x1, y1, x2, y2."""
    rows: list[F32] = []
    threshold = np.float32(detection.confidence_threshold)
    for label, boxes, scores in zip(detection.labels, found.boxes, found.scores, strict=True):
        above = np.flatnonzero(scores > threshold)
        kept = above[nms(boxes[above], scores[above], detection.nms_threshold, detection.top_k)]
        head = np.stack([np.zeros(len(kept)), np.full(len(kept), label), scores[kept]], axis=1)
        rows.append(np.concatenate([head, boxes[kept]], axis=1).astype(np.float32))
    every = np.concatenate(rows)
    if 0 <= detection.keep_top_k < len(every):
        every = every[np.sort(np.argsort(-every[:, 2], kind="stable")[: detection.keep_top_k])]
    return every


def compare_candidates(
    detection: DetectionOutput, bounds: Bounds, expected: Candidates, found: Candidates
) -> Verdict:
    """Whether all candidates above the threshold, or just below it, agree."""
    chosen = _chosen(detection, expected, found)
    one, other = expected.boxes[chosen], found.boxes[chosen]
    if not len(one):
        return Verdict(True, 0.0, "no candidate above the threshold")
    scores = np.abs(expected.scores[chosen] - found.scores[chosen])
    agreement = _agreement(one, other, bounds)
    worst = float(scores.max())
    passed = bool(worst <= bounds.score and agreement.min() >= bounds.iou)
    return Verdict(passed, worst, f"{len(one)} candidates, least IoU {agreement.min():.6f}")


def compare_rows(
    detection: DetectionOutput, bounds: Bounds, candidates: Candidates, expected: F32, found: F32
) -> Verdict:
    """Whether two answers [n, 7] to one image agree one to one, except for choices of rounding.

    `candidates` are those of one side: both sides have been shown to agree.
    """
    pairs = _match(bounds, expected, found)
    worst = max((abs(float(expected[i, 2] - found[j, 2])) for i, j in pairs), default=0.0)
    left = [
        (np.delete(expected, [i for i, _ in pairs], 0), found),
        (np.delete(found, [j for _, j in pairs], 0), expected),
    ]
    if 0 <= detection.keep_top_k < len(found):
        return Verdict(False, worst, f"{len(found)} rows, more than keep_top_k")
    unexplained, explained = _unexplained(detection, bounds, candidates, left)
    note = f"{len(pairs)} detections agree"
    if explained:
        note += f", {explained} more are kept or dropped by rounding"
    if unexplained:
        row = unexplained[0]
        note += (
            f", {len(unexplained)} have no counterpart (label {row[1]:.0f}, score {row[2]:.4f}, "
            f"box {', '.join(f'{number:.4f}' for number in row[3:])})"
        )
    return Verdict(not unexplained, worst, note)


def _match(bounds: Bounds, expected: F32, found: F32) -> list[tuple[int, int]]:
    """Pairs that agree in image, label, score and box; each row in one pair at most."""
    pairs: list[tuple[int, int]] = []
    free = np.ones(len(found), bool)
    for index, row in enumerate(expected):
        near = np.flatnonzero(
            free
            & (found[:, :2] == row[:2]).all(axis=1)
            & (np.abs(found[:, 2] - row[2]) <= bounds.score)
        )
        if not near.size:
            continue
        row_box = np.broadcast_to(row[3:], (len(near), 4))
        agreement = _agreement(row_box, found[near, 3:], bounds)
        best = int(agreement.argmax())
        if agreement[best] >= bounds.iou:
            free[near[best]] = False
            pairs.append((index, int(near[best])))
    return pairs


def _chosen(detection: DetectionOutput, one: Candidates, other: Candidates) -> Bools:
    """Which candidates [classes, P] are above the threshold on a side, or just below it."""
    limit = detection.confidence_threshold - SCORE_BOUND
    return np.asarray((one.scores > limit) | (other.scores > limit))


def _agreement(one: Floats, other: Floats, bounds: Bounds) -> F64:
    """IoU [N] of boxes, pair by pair.

    Where a side is short, the result is the product of the overlaps along both axes. The overlap
    along a short side counts as 1 if the corners agree.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    sides = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0)
    common = sides.prod(axis=1)
    union = area(a) + area(b) - common
    overlap = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    spans = np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2])
    along = np.divide(sides, spans, out=np.zeros_like(sides), where=sides > 0)
    close = (np.abs(a - b) <= _blur(a, bounds)).reshape(-1, 2, 2)
    short = _short(a, bounds)
    along = np.where(short & close.all(axis=1), 1.0, along)
    equal = (a == b).all(axis=1)  # infinite boxes too, whose IoU is NaN
    return np.where(equal, 1.0, np.where(short.any(axis=1), along.prod(axis=1), overlap))


def _unexplained(
    detection: DetectionOutput, bounds: Bounds, candidates: Candidates, left: list[tuple[F32, F32]]
) -> tuple[list[F32], int]:
    """The rows without counterpart that rounding can't explain, and the number of those it can.

    `left` has, for each side, its rows without counterpart and all rows of the other side.
    """
    waiting = [(row, other) for rows, other in left for row in rows]
    explained: set[tuple[float, ...]] = set()
    count = 0
    while True:
        close = [
            (row, other)
            for row, other in waiting
            if _is_rounding(detection, bounds, candidates, row, other, explained)
        ]
        if not close:
            return [row for row, _ in waiting], count
        explained |= {tuple(row.tolist()) for row, _ in close}
        count += len(close)
        done = {id(row) for row, _ in close}
        waiting = [(row, other) for row, other in waiting if id(row) not in done]


def _is_rounding(
    detection: DetectionOutput,
    bounds: Bounds,
    candidates: Candidates,
    row: F32,
    other: F32,
    explained: Set[tuple[float, ...]],
) -> bool:
    """Whether rounding can explain that the other side lacks this row.

    `explained` has the rows for which it can already.
    """
    score, slack = float(row[2]), 2 * bounds.score
    if not _is_candidate(detection, bounds, candidates, row):
        return False
    if abs(score - detection.confidence_threshold) <= bounds.score:
        return True
    if len(other) == detection.keep_top_k and score <= float(other[:, 2].min()) + slack:
        return True
    scores = candidates.scores[detection.labels.index(int(row[1]))]
    above = np.sort(scores[scores > detection.confidence_threshold])
    if 0 < detection.top_k < len(above) and score <= float(above[-detection.top_k]) + slack:
        return True
    # Otherwise a row of the other side has suppressed it there, but not on this side.
    rivals = other[(other[:, 1] == row[1]) & (other[:, 2] >= score - slack)]
    box, boxes = row[None, 3:].astype(np.float64), rivals[:, 3:].astype(np.float64)
    overlap = iou(box, boxes)[0]
    # Rounding moves a short side by a large part of its length.
    blurred = (_short(box, bounds).any() | _short(boxes, bounds).any(axis=1)) & (
        iou(_widened(box, bounds), _widened(boxes, bounds))[0] > 0
    )
    on_threshold = blurred | (np.abs(overlap - detection.nms_threshold) <= bounds.overlap)
    over = blurred | (overlap > detection.nms_threshold - bounds.overlap)
    tied = np.abs(rivals[:, 2] - score) <= slack
    absent_here = np.asarray([tuple(rival) in explained for rival in rivals.tolist()], bool)
    return bool((on_threshold | (over & (tied | absent_here))).any())


def _is_candidate(
    detection: DetectionOutput, bounds: Bounds, candidates: Candidates, row: F32
) -> bool:
    """Whether there is a candidate with this box and score."""
    position = detection.labels.index(int(row[1]))
    near = np.abs(candidates.scores[position] - row[2]) <= bounds.score
    boxes = candidates.boxes[position][near]
    agreement = _agreement(np.broadcast_to(row[3:], boxes.shape), boxes, bounds)
    return bool((agreement >= bounds.iou).any())


def _blur(boxes: F64, bounds: Bounds) -> F64:
    """How far rounding alone may move each corner coordinate [N, 4]."""
    outside = np.maximum(np.abs(boxes) - 1, 0)
    return np.asarray(CORNER_BOUND * np.asarray(bounds.pixel * 2) + FAR_BOUND * outside)


def _short(boxes: F64, bounds: Bounds) -> Bools:
    """Which sides [N, 2] are too short for an IoU, given how far their corners may move."""
    blur = _blur(boxes, bounds)
    most = np.maximum(blur[:, :2], blur[:, 2:])
    return np.asarray(boxes[:, 2:] - boxes[:, :2] < most / CORNER_BOUND)


def _widened(boxes: F64, bounds: Bounds) -> F64:
    """Boxes with a margin as wide as their corners may move."""
    return np.asarray(boxes + _blur(boxes, bounds) * np.asarray([-1, -1, 1, 1]))
