"""Reads datasets, lists of images with their faces: JSON lines, and WIDER FACE's text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geometry.arrays import F32
from training.data import wider
from training.data.holdout import is_held_out
from training.data.images import DatasetError


@dataclass(frozen=True)
class LabelledImage:
    """One image file and the faces in it."""

    path: Path
    name: str
    """The image's name in the list."""
    boxes: F32 | None
    """[N, 4] as x1, y1, x2, y2 in pixels of the upright picture.

    Empty where there is no face. None where nobody has labelled the faces.
    """


def read(path: Path, images: Path | None = None) -> list[LabelledImage]:
    """Read a dataset. Its suffix tells the format: `.txt` is WIDER FACE's, others are JSON lines.

    `images` is the folder that image names start from; by default it is the folder of the file.
    Raises DatasetError or GroundTruthError for a file that can't be read.
    """
    if path.suffix == ".txt":
        return read_wider(path, images or path.parent)
    return read_json_lines(path, images)


def read_json_lines(path: Path, images: Path | None = None) -> list[LabelledImage]:
    """The images of a file of lines {"image", "width", "height", "boxes"}.

    `images` is the folder that `image` is relative to; by default it is the folder of the file.
    """
    folder = images or path.parent
    dataset = []
    try:
        # Not splitlines: JSON allows U+2028 and other separators of lines inside a text.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DatasetError(f"{path}: can't read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: is not UTF-8 text (see byte {error.start}); save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            # JSON can write half a surrogate pair. Such a name has no bytes for --held-out to hash.
            entry["image"].encode()
            boxes = None if entry["boxes"] is None else _boxes(entry["boxes"])
            dataset.append(LabelledImage(folder / entry["image"], entry["image"], boxes))
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),
        ) as error:
            raise DatasetError(
                f"{path}, line {number}: needs an object with image and boxes "
                f"([[x1, y1, x2, y2], …] or null): {error}"
            ) from error
    if not dataset:
        raise DatasetError(f"{path}: lists no images")
    return dataset


def _boxes(listed: Any) -> F32:
    """Boxes [N, 4]; ValueError for rows that are not boxes, such as corners of polygons."""
    if listed == []:
        return np.zeros((0, 4), np.float32)
    found = np.asarray(listed)
    if found.ndim != 2 or found.shape[1] != 4 or found.dtype.kind not in "iuf":
        raise ValueError("a box has four numbers")
    with np.errstate(over="ignore"):
        boxes = found.astype(np.float32)
    if not np.isfinite(boxes).all():
        raise ValueError("a number of a box is not finite")
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("a box has no size: x2 must be greater than x1, and y2 than y1")
    return boxes


def read_wider(path: Path, images: Path) -> list[LabelledImage]:
    """The images of WIDER FACE's annotation text, such as `wider_face_train_bbx_gt.txt`.

    Faces that are marked invalid, or have no size, are left out. An image with only such faces
    counts as not labelled.
    """
    dataset = []
    for annotation in wider.read_text(path):
        faces = annotation.faces[annotation.counted["hard"]].astype(np.float32)
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:]], axis=1)
        known = len(boxes) > 0 or not len(annotation.faces)
        name = f"{annotation.name}.jpg"
        dataset.append(LabelledImage(images / name, name, boxes if known else None))
    if not dataset:
        raise DatasetError(f"{path}: lists no images")
    return dataset


def check_files(dataset: Sequence[LabelledImage]) -> None:
    """Raise DatasetError for missing files before a run, rather than hours into it."""
    missing = [str(each.path) for each in dataset if not each.path.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(dataset)} images are missing, such as "
            f"{missing[0]}: check --images"
        )


def split(dataset: Sequence[LabelledImage], held_out: float) -> tuple[list[LabelledImage], ...]:
    """The images to train on, and the share `held_out` of them that is not trained on."""
    parts: tuple[list[LabelledImage], list[LabelledImage]] = ([], [])
    for each in dataset:
        parts[is_held_out(each.name, held_out)].append(each)
    return parts
