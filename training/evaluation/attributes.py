"""Reads the attributes that WIDER FACE gives each face: blur, pose, occlusion and others."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from geometry.arrays import I64
from training.data.wider import Annotation, GroundTruthError

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


def of_text(annotation: Annotation) -> Attributes:
    """The attributes of an image of the annotation text; a column that it lacks is left out."""
    columns = annotation.columns.astype(np.int64)
    return dict(zip(VALUES, columns.T, strict=False))
