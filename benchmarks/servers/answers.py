"""Checks that servers give equal answers: only servers that do the same work are compared."""

import json

import numpy as np

from benchmarks.servers.peers.work import Answer
from detection.agreement import BOUNDS
from detection.precision import Precision
from geometry.arrays import F64
from geometry.boxes import iou
from sfd.errors import SfdError


class OtherAnswer(SfdError):
    """A server's faces are not those of the reference."""


def check(expected: Answer, body: bytes, precision: Precision) -> int:
    """The number of faces of an answer that agrees with the expected one.

    The bounds are those of the service's own comparison of precisions. Raises OtherAnswer, with the
    difference.
    """
    bound = BOUNDS[precision]
    try:
        theirs, their_scores = _read(json.loads(body))
    except (ValueError, KeyError, TypeError):
        raise OtherAnswer(f"not an answer with faces: {body[:200]!r}") from None
    ours, our_scores = _read(expected)
    if len(ours) != len(theirs):
        raise OtherAnswer(f"{len(theirs)} faces instead of {len(ours)}")
    if not len(ours):
        return 0
    overlaps = iou(ours, theirs)
    partners = overlaps.argmax(axis=1)
    if len(set(partners.tolist())) != len(ours) or (overlaps.max(axis=1) < bound.iou).any():
        raise OtherAnswer(f"a box has an IoU of {overlaps.max(axis=1).min():.3f} with ours")
    difference = float(np.abs(our_scores - their_scores[partners]).max())
    if difference > bound.score:
        raise OtherAnswer(f"a score differs by {difference:.4f}")
    return len(ours)


def _read(answer: Answer) -> tuple[F64, F64]:
    """Boxes [faces, 4] as x1, y1, x2, y2 in pixels, and scores [faces]."""
    rows = [
        (b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"], face["score"])
        for face in answer["faces"]
        for b in (face["box"],)
    ]
    table = np.asarray(rows, np.float64).reshape(-1, 5)
    return table[:, :4], table[:, 4]
