"""Reads the attributes that WIDER FACE gives each face: blur, pose, occlusion and others."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from geometry.arrays import I64
from training.data.wider import GroundTruthError

VALUES = {
    "blur": ("clear", "normal", "heavy"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
    "invalid": ("valid", "invalid"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
}
"""The attributes in the order of the annotation text, and the names of the values 0, 1 and 2."""

Attributes = Mapping[str, I64]
"""By attribute, the values [N] of the faces of one image."""


def read_mat(folder: Path) -> dict[str, Attributes]:
    """The attributes in `wider_face_val.mat`, by the name of the image.

    The file has a list `NAME_label_list` for each attribute. An attribute without one is left out.
    """
    from scipy.io import loadmat

    path = folder / "wider_face_val.mat"
    content = loadmat(path)
    found: dict[str, Attributes] = {}
    present = [name for name in VALUES if f"{name}_label_list" in content]
    try:
        for event, (title,) in enumerate(content["event_list"]):
            for index, (name,) in enumerate(content["file_list"][event, 0]):
                found[f"{title[0]}/{name[0]}"] = {
                    each: np.asarray(
                        content[f"{each}_label_list"][event, 0][index, 0], np.int64
                    ).ravel()
                    for each in present
                }
    except (LookupError, TypeError, ValueError) as error:
        raise GroundTruthError(
            f"{path}: the attributes are not WIDER FACE's ({error}); use the file from its "
            "eval_tools"
        ) from error
    return found


def read_text(path: Path) -> dict[str, Attributes]:
    """The attributes in `wider_face_val_bbx_gt.txt`, the last six columns, by name of the image.

    `training.data.wider.read_text` has read the file before, so its form is known to be right.
    """
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    found: dict[str, Attributes] = {}
    at = 0
    while at < len(lines):
        name, count = lines[at].strip(), int(lines[at + 1])
        rows = [row.split() for row in lines[at + 2 :][:count]]
        table = np.asarray(rows, np.float64).reshape(count, -1 if count else 10).astype(np.int64)
        found[str(Path(name).with_suffix(""))] = {
            each: table[:, 4 + column]
            for column, each in enumerate(VALUES)
            if 4 + column < table.shape[1]
        }
        at += 2 + max(count, 1)
    return found
