"""`python -m benchmarks.labels`: labels pictures of crowds by the agreement of three detectors.

YuNet, CenterFace and a model of the store look at each picture of a list that nobody has labelled,
at its own size and enlarged. A box counts if two of them find it and one of them is sure. The
detectors have little in common, so they seldom make the same mistake. `sfd train` takes the new
list; in a distillation these boxes are faces that the teachers may have missed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.adapters import Adapter, centerface, yunet
from benchmarks.downloads import CENTERFACE
from benchmarks.ending import exit_code
from detection.letterbox import letterbox
from detection.providers import ProviderName
from detection.session import Session, open_session
from detection.tiles import crop, gather, layout
from geometry.arrays import F32
from geometry.boxes import iou
from geometry.nms import nms
from geometry.voting import vote
from sfd.arguments import new_file, threads
from sfd.errors import SfdError, UsageError
from sfd.files import write_atomically
from store.model import load
from store.places import locate
from training.data.images import MEAN_RGB, opened, upright

SCALES = (1.0, 2.0)
"""Of the looks at a picture."""
MOST_SIDE = 2000
"""A picture is not enlarged beyond this, in pixels of its longer side."""
NMS_IOU = 0.4
SAME_FACE = 0.4
"""IoU from which two detectors see the same face."""
AGREEING = 2
"""Detectors that must see a face."""
LEAST_SIDE = 6.0
"""Height of the smallest face, in pixels of the picture."""

Found = tuple[F32, F32]
"""Boxes [N, 4] as x1, y1, x2, y2 in pixels, and scores [N]."""


@dataclass(frozen=True)
class Labeller:
    """A detector, and what its scores mean."""

    find: Callable[[Image.Image], Found]
    """The faces of a picture at one size, before NMS."""
    low: float
    """The score from which it sees a face,"""
    sure: float
    """and from which it is sure."""

    def detect(self, picture: Image.Image) -> Found:
        """The faces of a picture at all scales: NMS and box voting, within a scale and across."""
        boxes, scores = [], []
        for scale in SCALES:
            scale = min(scale, max(1.0, MOST_SIDE / max(picture.size)))
            size = round(picture.width * scale), round(picture.height * scale)
            enlarged = picture.resize(size, Image.Resampling.BICUBIC)
            found, sure = voted(*self.find(enlarged))
            boxes.append(found / np.asarray([scale] * 4, np.float32))
            scores.append(sure)
        return voted(np.concatenate(boxes), np.concatenate(scores))


def voted(boxes: F32, scores: F32) -> Found:
    """The boxes that NMS keeps, each moved by box voting."""
    kept = nms(boxes, scores, NMS_IOU)
    return vote(boxes, scores, kept).astype(np.float32), scores[kept]


def of_adapter(adapter: Adapter, low: float, sure: float) -> Labeller:
    """A detector of another project, which takes a picture of any size."""

    def find(picture: Image.Image) -> Found:
        width, height = (-(-side // 32) * 32 for side in picture.size)
        canvas = Image.new("RGB", (width, height), MEAN_RGB)
        canvas.paste(picture)
        return adapter.candidates(np.asarray(canvas), low / 2)

    return Labeller(find, low, sure)


def of_session(session: Session, low: float, sure: float) -> Labeller:
    """A model of the store, which sees a picture whole and in tiles."""
    taken = session.model.input

    def find(picture: Image.Image) -> Found:
        tiles = layout(*picture.size, taken.width, taken.height)
        found = []
        for tile in tiles:
            pixels, place = letterbox(
                crop(picture, tile), taken.width, taken.height, 3, taken.mean_rgb
            )
            (seen,) = session.run([pixels])
            above = np.flatnonzero(seen.scores > np.float32(low / 2))
            found.append((place.to_image(seen.boxes[above]), seen.scores[above]))
        boxes, scores = gather(tiles, found, taken.width, taken.height)
        return boxes.astype(np.float32), scores.astype(np.float32)

    return Labeller(find, low, sure)


def fuse(found: Sequence[Found], labellers: Sequence[Labeller]) -> F32:
    """The boxes [N, 4] on which enough detectors agree; `found` has those of each labeller.

    Boxes of one face are averaged, weighted by their scores: weighted box fusion
    (arXiv:1910.13302), with one box of each detector.
    """
    boxes = np.concatenate([each for each, _ in found])
    scores = np.concatenate([each for _, each in found])
    whose = np.concatenate([np.full(len(s), index) for index, (_, s) in enumerate(found)])
    used = np.zeros(len(scores), np.bool_)
    fused: list[F32] = []
    for first in np.argsort(-scores, kind="stable"):
        if used[first]:
            continue
        same = (iou(boxes[first : first + 1], boxes)[0] >= SAME_FACE) & ~used
        used |= same
        agreeing, is_sure = [], False
        for index, labeller in enumerate(labellers):
            own = np.flatnonzero(same & (whose == index) & (scores >= labeller.low))
            if len(own):
                best = own[scores[own].argmax()]
                agreeing.append(best)
                is_sure |= bool(scores[best] >= labeller.sure)
        if len(agreeing) >= AGREEING and is_sure:
            fused.append(np.average(boxes[agreeing], axis=0, weights=scores[agreeing]))
    result = np.asarray(fused, np.float32).reshape(-1, 4)
    return result[result[:, 3] - result[:, 1] >= LEAST_SIDE]


def main(arguments: list[str] | None = None) -> int:
    """Label, and write the list; returns the exit code."""
    given = _parser().parse_args(arguments)
    return exit_code("labels", lambda: _run(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    add = parser.add_argument
    add("--annotations", type=Path, required=True, metavar="FILE", help="JSON lines")
    add("--images", type=Path, metavar="DIR", help="default: the folder of --annotations")
    add("--yunet", type=Path, required=True, metavar="FILE", help="yunet_n_dynamic.onnx")
    add("--model", required=True, metavar="NAME", help="a detector of the store")
    add("--store", type=Path, metavar="DIR")
    add("--threads", type=threads, default=1, metavar="N")
    add(
        "--output", type=new_file, required=True, metavar="FILE", help="the list with the new boxes"
    )
    return parser


def _run(given: argparse.Namespace) -> None:
    if given.output.exists():
        raise UsageError(f"{given.output} already exists; choose another --output")
    if not given.output.parent.is_dir():
        raise UsageError(f"{given.output.parent} is not a folder; create it first")
    folder = given.images or given.annotations.parent
    rows = read(given.annotations)
    (file,) = CENTERFACE.fetch()
    model = load(locate(given.model, given.store))
    session = open_session(model, ProviderName.CPU, given.threads, 1)
    labellers = [
        of_adapter(yunet(given.yunet, given.threads), 0.45, 0.65),
        of_adapter(centerface(file, given.threads), 0.35, 0.5),
        of_session(session, 0.35, 0.6),
    ]
    unlabelled = [row for row in rows if row["boxes"] is None]
    faces = 0
    for row in tqdm(unlabelled, unit="picture", disable=None):
        with opened(folder / row["image"]) as image:
            picture = upright(image)
        boxes = fuse([each.detect(picture) for each in labellers], labellers)
        row["boxes"] = boxes.round(1).tolist()
        faces += len(boxes)
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    write_atomically(given.output, text.encode())
    print(f"{given.output}: {faces} faces in {len(unlabelled)} pictures")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a list. Raises SfdError, with the line's number."""
    rows = []
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise SfdError(f"{path}: is not UTF-8 text") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(row | {"image": str(row["image"]), "boxes": row["boxes"]})
        except (ValueError, KeyError, TypeError):
            raise SfdError(
                f'{path}:{number}: is not {{"image": PATH, "boxes": …}}; give unlabelled pictures '
                '"boxes": null'
            ) from None
    return rows


if __name__ == "__main__":
    sys.exit(main())
