"""The share of faces that a detector finds at one score, by their height and their attributes."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from geometry.arrays import F64, Bools
from geometry.boxes import iou
from geometry.letterbox import Letterbox
from training.data.images import opened, upright_size
from training.evaluation.attributes import VALUES, Attributes
from training.evaluation.curves import Detections

HEIGHTS = (8, 12, 16, 24, 32, 64, 128, 256)
"""The bounds of the groups by height, in pixels of the letterbox."""
ATTRIBUTES_FROM = 16
"""The least height of the faces that are grouped by attributes. Nearly all smaller ones are marked
as blurred and half of them as occluded, so the groups would only say how small their faces are."""
LETTERBOX = 640
"""The side of the letterbox in which heights are measured, the same for all models."""


def found_faces(found: Detections, faces: F64, score: float, overlap: float = 0.5) -> Bools:
    """Which faces [N] the detections with at least `score` find.

    Best first, each detection takes the free face with the greatest IoU, if that is at least
    `overlap`. `faces` [N, 4] are corners.
    """
    taken = np.zeros(len(faces), np.bool_)
    if not len(faces) or not len(found.scores):
        return taken
    shared = iou(found.boxes, faces)
    for index in np.argsort(-found.scores, kind="stable"):
        if found.scores[index] < score:
            break
        candidates = np.where(taken, -1.0, shared[index])
        best = int(candidates.argmax())
        if candidates[best] >= overlap:
            taken[best] = True
    return taken


def heights(file: Path, faces: F64) -> F64:
    """The heights [N] of the faces of an image in a letterbox of 640 × 640 pixels."""
    with opened(file) as image:
        box = Letterbox.fit(*upright_size(image), LETTERBOX, LETTERBOX)
    return (faces[:, 3] - faces[:, 1]) * box.height / box.image_height


def by_group(
    files: Sequence[Path],
    found: Sequence[Detections],
    faces: Sequence[F64],
    attributes: Sequence[Attributes],
    score: float,
) -> dict[str, Any]:
    """The recall of each group: {"score", "height": {"<8": {"faces", "found", "recall"}}, ...}.

    Attributes group the faces of at least 16 pixels in the letterbox. Invalid faces are only in
    the group `invalid` of the attribute of that name.
    """
    taken = _joined(
        [found_faces(one, boxes, score) for one, boxes in zip(found, faces, strict=True)], np.bool_
    )
    height = _joined([heights(*each) for each in zip(files, faces, strict=True)], np.float64)
    labels = {
        name: _joined([each[name] for each in attributes], np.int64)
        for name in VALUES
        if attributes and all(name in each for each in attributes)
    }
    valid = labels["invalid"] == 0 if "invalid" in labels else np.ones(len(taken), np.bool_)
    at = np.digitize(height, HEIGHTS)
    result: dict[str, Any] = {"score": score, "all": _recall(taken, valid)}
    result["height"] = {
        name: _recall(taken, valid & (at == index)) for index, name in enumerate(_names(HEIGHTS))
    }
    for name, values in labels.items():
        counted = (height >= ATTRIBUTES_FROM) & (valid | (name == "invalid"))
        result[name] = {
            title: _recall(taken, counted & (values == value))
            for value, title in enumerate(VALUES[name])
        }
    return result


def _recall(taken: Bools, group: Bools) -> dict[str, Any]:
    """Recall is None for a group without faces."""
    faces, hits = int(group.sum()), int((taken & group).sum())
    return {"faces": faces, "found": hits, "recall": round(hits / faces, 4) if faces else None}


def _names(bounds: Sequence[int]) -> list[str]:
    between = [f"{low}-{high}" for low, high in pairwise(bounds)]
    return [f"<{bounds[0]}", *between, f">={bounds[-1]}"]


def _joined(parts: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
