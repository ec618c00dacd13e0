"""Measures faces that fill the frame: photographs cut so that the face takes a share of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geometry.arrays import F64
from geometry.boxes import iou
from sfd.errors import SfdError
from sfd.files import scratch
from training.data.dataset import read_json_lines, split
from training.data.images import opened, upright
from training.data.wider import GroundTruthError
from training.evaluation.curves import Detections
from training.evaluation.ground_truth import nothing_listed

SHARES = (0.2, 0.4, 0.6, 0.8, 0.95)
"""The face's height as a share of the height of the cut."""
FACES = 60
LEAST_HEIGHT = 120
"""Of a face, in pixels. A smaller one would be enlarged so much that it is blurred."""
ASPECTS = (0.6, 1.0)
"""Width over height of a face: others are turned away, or not whole."""

Find = Callable[[Sequence[Path]], Sequence[Detections]]


@dataclass(frozen=True)
class Face:
    """The only face of a photograph."""

    path: Path
    box: F64
    """[4] as corners in pixels of the upright picture."""


def choose(
    path: Path, images: Path, held_out: float | None = None, count: int = FACES
) -> list[Face]:
    """The faces that are cut, at most `count`, from a list of JSON lines; the same at each call.

    An image must have exactly one face, at least 120 pixels high, and 0.6 to 1 times as wide as
    high. Raises SfdError if there are none.
    """
    listed = read_json_lines(path, images)
    if held_out is not None:
        listed = split(listed, held_out)[1]
        if not listed:
            raise GroundTruthError(nothing_listed(path, held_out))
    random.Random(0).shuffle(listed)
    faces = []
    for each in listed:
        if each.boxes is None or len(each.boxes) != 1 or not each.path.is_file():
            continue
        box = each.boxes[0].astype(np.float64)
        width, height = box[2:] - box[:2]
        if height >= LEAST_HEIGHT and ASPECTS[0] < width / height < ASPECTS[1]:
            faces.append(Face(each.path, box))
    if not faces:
        raise SfdError(
            f"{path}: no image in {images} has one single face of at least {LEAST_HEIGHT} pixels; "
            "give another list, or check --images"
        )
    return faces[:count]


def measure(faces: Sequence[Face], score: float, find: Find) -> list[dict[str, Any]]:
    """A row for each share: the share of faces found at IoU 0.5, and the mean number of boxes.

    A picture that is too small for a share is cut at its edges, so `median_share` says how much of
    the height the faces really take.

    `find` gives the detections of files; those with at least `score` count.
    """
    rows = []
    with scratch("closeup") as folder:
        files, boxes, real = [], [], []
        for share in SHARES:
            for index, face in enumerate(faces):
                path = Path(folder) / f"{index}-{share}.png"
                box, height = cut(face, share, path)
                boxes.append(box)
                real.append((box[3] - box[1]) / height)
                files.append(path)
        found = find(files)
    for at, share in enumerate(SHARES):
        here = slice(at * len(faces), (at + 1) * len(faces))
        hits, counts = 0, 0
        for box, each in zip(boxes[here], found[here], strict=True):
            shown = each.boxes[each.scores >= score]
            counts += len(shown)
            hits += bool(len(shown) and iou(box[None], shown).max() >= 0.5)
        rows.append(
            {
                "share": share,
                "median_share": round(float(np.median(real[here])), 3),
                "found": round(hits / len(faces), 4),
                "boxes": round(counts / len(faces), 2),
            }
        )
    return rows


def cut(face: Face, share: float, path: Path) -> tuple[F64, int]:
    """Write a square around a face, without what lies outside of the picture.

    Returns the box in the cut [4], and the height of the cut. Raises GroundTruthError for a face
    that lies outside of the picture.
    """
    with opened(face.path) as image:
        picture = upright(image)
    x1, y1, x2, y2 = face.box.tolist()
    if min(x2, y2) <= 0 or x1 >= picture.width or y1 >= picture.height:
        raise GroundTruthError(
            f"{face.path}: has {picture.width} x {picture.height} pixels, but a face at "
            f"{face.box.round().tolist()}: correct the list; boxes are in pixels of the picture "
            "after its EXIF rotation"
        )
    side = (y2 - y1) / share
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    right = min(picture.width, round(x + side / 2))
    bottom = min(picture.height, round(y + side / 2))
    picture.crop((left, top, right, bottom)).save(path, compress_level=1)
    return face.box - np.asarray([left, top, left, top], np.float64), bottom - top
