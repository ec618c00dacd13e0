"""The official WIDER FACE protocol, from the evaluation tools of the WIDER FACE authors.

`eval_tools/evaluation.m`, `boxoverlap.m`, `norm_score.m` and `VOCap.m` (shuoyang1213.me/WIDERFACE):
scores are stretched to 0–1 over the whole run; 1,000 thresholds; an easy, a medium and a hard
subset, the faces outside of which are ignored: finding one is neither right nor wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geometry.arrays import F64, I64, Bools
from sfd import extras
from sfd.errors import SfdError
from training.evaluation.curves import Curve, Detections, average_precision

THRESHOLDS = 1000
SUBSETS = ("easy", "medium", "hard")
VARIABLES = {
    "face": ("event_list", "file_list", "face_bbx_list"),
    **dict.fromkeys(SUBSETS, ("gt_list",)),
}
"""What is read of each `.mat` file."""


class GroundTruthError(SfdError):
    """Ground truth that is missing or of another form."""


@dataclass(frozen=True)
class Marked:
    """The faces of one image and which of them each subset counts."""

    name: str
    """EVENT/IMAGE, without the file's suffix."""
    faces: F64
    """[N, 4] as x1, y1, width, height in pixels."""
    counted: Mapping[str, Bools]
    """By subset, [N]: whether the face counts; else it is ignored."""


def read_mat(folder: Path) -> list[Marked]:
    """The ground truth of the four `.mat` files: `wider_face_val` and one for each subset."""
    files = {name: folder / f"wider_{name}_val.mat" for name in VARIABLES}
    missing = [str(path) for path in files.values() if not path.is_file()]
    if missing:
        raise GroundTruthError(f"no {', '.join(missing)}: give the folder of the four .mat files")
    content = {name: _variables(path, VARIABLES[name]) for name, path in files.items()}
    try:
        images = list(_images(content))
    except (LookupError, TypeError, ValueError) as error:
        raise GroundTruthError(
            f"{folder}: the .mat files are not WIDER FACE's ground truth ({error}); take the four "
            "of its eval_tools"
        ) from error
    if not images:
        raise GroundTruthError(f"{folder}: the .mat files name no images")
    return images


def _variables(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise GroundTruthError(
            f"reading .mat ground truth needs SciPy: {extras.install('evaluate')}"
        ) from error
    try:
        content: Mapping[str, Any] = loadmat(path)
    except NotImplementedError as error:
        # SciPy's own words recommend a library that isn't used here.
        raise GroundTruthError(
            f"{path}: is a MATLAB 7.3 file, which can't be read; save it with -v7"
        ) from error
    except Exception as error:
        # On broken files SciPy raises nearly anything: its own errors, zlib's, TypeError, OSError.
        raise GroundTruthError(
            f"{path}: can't be read as a .mat file ({error}); is it a whole download?"
        ) from error
    lacking = [name for name in names if name not in content]
    if lacking:
        raise GroundTruthError(
            f"{path}: has no {', '.join(lacking)}, so it isn't WIDER FACE's; take the file of its "
            "eval_tools"
        )
    return content


def _images(content: Mapping[str, Mapping[str, Any]]) -> list[Marked]:
    images = []
    face = content["face"]
    for event, (title,) in enumerate(face["event_list"]):
        names = face["file_list"][event, 0]
        for index in range(len(names)):
            faces = np.asarray(face["face_bbx_list"][event, 0][index, 0], np.float64)
            counted = {}
            for subset in SUBSETS:
                kept = content[subset]["gt_list"][event, 0][index, 0]
                mask = np.zeros(len(faces), np.bool_)
                # MATLAB counts from 1.
                mask[np.asarray(kept, np.int64).ravel() - 1] = True
                counted[subset] = mask
            images.append(Marked(f"{title[0]}/{names[index, 0][0]}", faces.reshape(-1, 4), counted))
    return images


def read_text(path: Path) -> list[Marked]:
    """The annotation text `wider_face_val_bbx_gt.txt`: a file, a count, a line for each face.

    All faces count, under the one subset "hard"; those marked invalid are ignored.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise GroundTruthError(f"{path}: can't read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GroundTruthError(
            f"{path}: is no UTF-8 text (see byte {error.start}); save it as UTF-8"
        ) from error
    images = []
    at = 0
    try:
        while at < len(lines):
            if not lines[at].strip():
                at += 1
                continue
            name, count = lines[at].strip(), int(lines[at + 1])
            rows = [[float(value) for value in row.split()] for row in lines[at + 2 :][:count]]
            table = np.asarray(rows, np.float64).reshape(count, -1 if count else 10)
            faces, invalid = table[:, :4], table[:, 7] != 0
            counted = (faces[:, 2:] > 0).all(1) & ~invalid
            images.append(Marked(str(Path(name).with_suffix("")), faces, {"hard": counted}))
            # An image without faces has a line of zeros all the same.
            at += 2 + max(count, 1)
    except (ValueError, IndexError) as error:
        raise GroundTruthError(
            f"{path}, near line {at + 1}: needs an image's name, a count, and a line for each "
            f"face: {error}"
        ) from error
    return images


def curves(found: Mapping[str, Detections], marked: Sequence[Marked]) -> dict[str, Curve]:
    """A curve for each subset of the images in `marked`; `found` is by the images' names."""
    low, high = _score_range(found.values())
    spread = (high - low) or 1.0
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    result = {}
    for subset in marked[0].counted if marked else ():
        proposals = np.zeros(THRESHOLDS)
        hits = np.zeros(THRESHOLDS)
        faces = 0
        for image in marked:
            counted = image.counted[subset]
            faces += int(counted.sum())
            detections = found.get(image.name)
            if detections is None or not len(detections.scores) or not len(image.faces):
                continue
            order = np.argsort(-detections.scores, kind="stable")
            scores = (detections.scores[order] - low) / spread
            recalled, proposed = walk(detections.boxes[order], image.faces, counted)
            # How many detections pass each threshold.
            passing = np.searchsorted(-scores, -thresholds, side="right")
            hits += np.append(0, recalled)[passing]
            proposals += np.append(0, proposed.cumsum())[passing]
        recall = hits / max(faces, 1)
        precision = np.divide(hits, proposals, out=np.zeros_like(hits), where=proposals > 0)
        area = average_precision(recall, precision)
        own = thresholds * spread + low
        result[subset] = Curve(subset, recall, precision, own, area, faces)
    return result


def walk(boxes: F64, faces: F64, counted: Bools, overlap: float = 0.5) -> tuple[I64, Bools]:
    """Best detection first: counted faces found so far [N], and whether each one is a proposal [N].

    Each detection goes to the face that it overlaps most, whether that is taken or not. On an
    ignored face it is no proposal at all; a second one on a face is a false proposal.
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
    """IoU [N, M] as `boxoverlap.m` has it: a box from 1 to 3 is three pixels wide."""
    corners = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:]], axis=1)
    low = np.maximum(boxes[:, None, :2], corners[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], corners[None, :, 2:])
    both = (high - low + 1).clip(0).prod(-1)
    areas = [(each[:, 2:] - each[:, :2] + 1).prod(-1) for each in (boxes, corners)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both))


def _score_range(found: Any) -> tuple[float, float]:
    scores = [each.scores for each in found if len(each.scores)]
    if not scores:
        return 0.0, 1.0
    return float(min(each.min() for each in scores)), float(max(each.max() for each in scores))
