"""WIDER FACE's ground truth: its four `.mat` files, and its annotation text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geometry.arrays import F64, Bools
from sfd import extras
from sfd.errors import SfdError

SUBSETS = ("easy", "medium", "hard")
VARIABLES = {
    "face": ("event_list", "file_list", "face_bbx_list"),
    **dict.fromkeys(SUBSETS, ("gt_list",)),
}
"""The variables that are read from each `.mat` file."""


class GroundTruthError(SfdError):
    """Ground truth that is missing or malformed."""


@dataclass(frozen=True)
class Annotation:
    """The faces of one image and which of them each subset counts."""

    name: str
    """EVENT/IMAGE, without the file's suffix."""
    faces: F64
    """[N, 4] as x1, y1, width, height in pixels."""
    counted: Mapping[str, Bools]
    """By subset, [N]: whether the face counts. Other faces are ignored."""
    columns: F64 = field(default_factory=lambda: np.zeros((0, 0)))
    """[N, 6]: the attributes of the annotation text, in its order; empty from other files."""


def read_mat(folder: Path) -> list[Annotation]:
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
            f"{folder}: the .mat files are not WIDER FACE's ground truth ({error}); use the four "
            "files of its eval_tools"
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
        # SciPy's own message recommends a library that this project does not use.
        raise GroundTruthError(
            f"{path}: is a MATLAB 7.3 file, which is not supported; save it with -v7"
        ) from error
    except Exception as error:
        # On broken files SciPy raises nearly any kind of exception.
        raise GroundTruthError(
            f"{path}: can't be read as a .mat file ({error}); check that the download is complete"
        ) from error
    lacking = [name for name in names if name not in content]
    if lacking:
        raise GroundTruthError(
            f"{path}: has no {', '.join(lacking)}, so it isn't WIDER FACE's; use the file from its "
            "eval_tools"
        )
    return content


def _images(content: Mapping[str, Mapping[str, Any]]) -> list[Annotation]:
    images = []
    face = content["face"]
    for event, (title,) in enumerate(face["event_list"]):
        names = face["file_list"][event, 0]
        for index in range(len(names)):
            faces = np.asarray(face["face_bbx_list"][event, 0][index, 0], np.float64)
            if not faces.size:
                faces = np.zeros((0, 4))
            if faces.ndim != 2 or faces.shape[1] != 4 or not np.isfinite(faces).all():
                raise ValueError("a face has four numbers")
            counted = {}
            for subset in SUBSETS:
                kept = np.asarray(content[subset]["gt_list"][event, 0][index, 0]).ravel()
                # MATLAB counts from 1.
                if not np.isin(kept, np.arange(len(faces)) + 1).all():
                    raise ValueError(f"{subset} counts a face that is not there")
                mask = np.zeros(len(faces), np.bool_)
                mask[kept.astype(np.int64) - 1] = True
                counted[subset] = mask
            images.append(Annotation(f"{title[0]}/{names[index, 0][0]}", faces, counted))
    return images


def read_text(path: Path) -> list[Annotation]:
    """The annotation text `wider_face_val_bbx_gt.txt`: a file name, a count, a line for each face.

    There is one subset, "hard". All faces count in it, except those marked invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise GroundTruthError(f"{path}: can't read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GroundTruthError(
            f"{path}: is not UTF-8 text (see byte {error.start}); save it as UTF-8"
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
            if len(rows) != count:
                raise ValueError(f"{count} faces announced, {len(rows)} found")
            table = np.asarray(rows, np.float64).reshape(count, -1 if count else 10)
            if not np.isfinite(table).all():
                raise ValueError("a number is not finite")
            faces, invalid = table[:, :4], table[:, 7] != 0
            counted = (faces[:, 2:] > 0).all(1) & ~invalid
            stem = str(Path(name).with_suffix(""))
            images.append(Annotation(stem, faces, {"hard": counted}, table[:, 4:]))
            # An image without faces also has a line, of zeros.
            at += 2 + max(count, 1)
    except (ValueError, IndexError) as error:
        raise GroundTruthError(
            f"{path}, near line {at + 1}: an entry is the name of an image, a count, and a "
            f"line for each face: {error}"
        ) from error
    return images
