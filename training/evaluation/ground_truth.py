"""Ground truth of either kind, with the image files that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geometry.arrays import F64
from training.data.holdout import is_held_out
from training.evaluation import wider
from training.evaluation.curves import Curve, Detections, marked_faces
from training.evaluation.wider import GroundTruthError, Marked


@dataclass(frozen=True)
class Truth:
    """What was marked, and by which rules detections are counted against it."""

    rules: str
    files: Sequence[Path]
    missing: int
    """Marked images whose files are not there: left out, so that a part can be measured."""
    marked: Sequence[Marked] = ()
    """Of each file, by WIDER FACE's protocol."""
    boxes: Sequence[F64] = ()
    """Of each file, corners [N, 4] where every face is marked."""

    def curves(self, found: Sequence[Detections]) -> Mapping[str, Curve]:
        """A curve for each subset, for the detections of each file."""
        if self.marked:
            named = {each.name: one for each, one in zip(self.marked, found, strict=True)}
            return wider.curves(named, self.marked)
        return {"all": marked_faces(found, self.boxes, "all")}


def read(path: Path, images: Path, held_out: float | None = None) -> Truth:
    """A folder of `.mat` files, WIDER FACE's annotation text (.txt), or JSON lines.

    Of JSON lines, photographs whose boxes are null are left out. With `held_out`, all that
    `sfd train` with the same list and share has trained on is left out too.
    """
    if path.suffix == ".jsonl":
        return _lines(path, images, held_out)
    if path.suffix == ".mat" and path.is_file():
        raise GroundTruthError(f"{path}: is one of four; give their folder, {path.parent}")
    if path.is_dir():
        if held_out is not None:
            raise GroundTruthError(
                f"{path}: nothing trains on .mat files; give the list that was trained on "
                "(.jsonl or .txt), or leave --held-out away"
            )
        marked = wider.read_mat(path)
        rules = "WIDER FACE, official (.mat, 1000 thresholds)"
    else:
        marked = [
            each
            for each in wider.read_text(path)
            if held_out is None or is_held_out(f"{each.name}.jpg", held_out)
        ]
        if not marked:
            raise GroundTruthError(_nothing(path, held_out))
        rules = "WIDER FACE (annotation text, every valid face as hard, 1000 thresholds)"
    present = [each for each in marked if (images / f"{each.name}.jpg").is_file()]
    _check(present, path, images)
    files = [images / f"{each.name}.jpg" for each in present]
    return Truth(rules, files, len(marked) - len(present), marked=present)


def _lines(path: Path, images: Path, held_out: float | None) -> Truth:
    # Not at the top: photographs reads WIDER's text through this package.
    from training.data.dataset import read_json_lines, split

    listed = read_json_lines(path, images)
    if held_out is not None:
        listed = split(listed, held_out)[1]
        if not listed:
            raise GroundTruthError(_nothing(path, held_out))
    marked = [each for each in listed if each.boxes is not None]
    present = [each for each in marked if each.path.is_file()]
    _check(present, path, images)
    boxes = [np.asarray(each.boxes, np.float64).reshape(-1, 4) for each in present]
    rules = "average precision at IoU 0.5, all scores"
    return Truth(rules, [each.path for each in present], len(marked) - len(present), boxes=boxes)


def _nothing(path: Path, held_out: float | None) -> str:
    if held_out is None:
        return f"{path}: lists no photographs"
    return f"{path}: a share of {held_out:g} holds out no photograph"


def _check(present: Sequence[object], path: Path, images: Path) -> None:
    if not present:
        raise GroundTruthError(
            f"none of the images that {path} names is in {images}: check --images"
        )
