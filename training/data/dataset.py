"""Lists of photographs with their faces: JSON lines, and WIDER FACE's annotation text."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detection.images import FORMATS, flatten, turning
from geometry.arrays import F32
from sfd.errors import SfdError
from training.data.holdout import is_held_out
from training.evaluation import wider

MEAN_RGB = (123, 117, 104)
"""What lies under transparency and around pictures: the networks see zeros there."""
MOST_PIXELS = 100_000_000
"""Of a photograph: one that says more is taken for a damaged or hostile file."""

_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}


class DatasetError(SfdError):
    """A list of photographs that can't be used."""


@dataclass(frozen=True)
class Photograph:
    """One image file and the faces in it."""

    path: Path
    name: str
    """The image as the list names it."""
    boxes: F32 | None
    """[N, 4] as x1, y1, x2, y2 in pixels of the upright picture.

    None where there are faces that nobody has marked.
    """


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, not yet decoded; DatasetError for one that can't be, also later."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DatasetError(
                    f"{path}: has {image.width} x {image.height} pixels; leave it out of the list, "
                    f"or make it smaller: at most {MOST_PIXELS} are read"
                )
            yield image
    except DatasetError:
        raise
    except Exception as error:
        # Pillow's decoders raise nearly anything on broken files.
        raise DatasetError(f"{path}: can't be read as an image: {error}") from error


def is_upright(image: Image.Image) -> bool:
    """Whether EXIF has it neither turned nor mirrored."""
    return _to_turn(image) is None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of what `upright` makes of it."""
    return image.size[::-1] if _to_turn(image) in _SIDEWAYS else image.size


def upright(image: Image.Image) -> Image.Image:
    """RGB, turned as EXIF says: what the service makes of it, and what marks are meant for."""
    flat, method = flatten(image, MEAN_RGB), turning(image)
    return flat if method is None else flat.transpose(method)


def _to_turn(image: Image.Image) -> Image.Transpose | None:
    """How an image that is not yet decoded has to be turned."""
    # Pillow turns a TIFF as it decodes it, and says its size as turned.
    return None if image.format == "TIFF" else turning(image)


def read_json_lines(path: Path, images: Path | None = None) -> list[Photograph]:
    """The photographs of a file of lines {"image", "width", "height", "boxes"}.

    `images` is the folder that `image` is relative to; else the folder of the file.
    """
    folder = images or path.parent
    photographs = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: can't read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: is no UTF-8 text (see byte {error.start}); save it as UTF-8"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            boxes = None if entry["boxes"] is None else _boxes(entry["boxes"])
            photographs.append(Photograph(folder / entry["image"], entry["image"], boxes))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DatasetError(
                f"{path}, line {number}: needs an object with image and boxes "
                f"([[x1, y1, x2, y2], …] or null): {error}"
            ) from error
    if not photographs:
        raise DatasetError(f"{path}: lists no photographs")
    return photographs


def _boxes(listed: Any) -> F32:
    """Boxes [N, 4]; ValueError for rows that are none, such as corners of polygons."""
    boxes = np.asarray(listed, np.float32)
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError("a box has four numbers")
    if not np.isfinite(boxes).all():
        raise ValueError("a number of a box is not finite")
    if not (boxes[:, 2:] >= boxes[:, :2]).all():
        raise ValueError("a box has x2 below x1, or y2 below y1")
    return boxes


def read_wider(path: Path, images: Path) -> list[Photograph]:
    """The photographs of WIDER FACE's annotation text, such as `wider_face_train_bbx_gt.txt`.

    Faces marked invalid, or without a size, are left out; where there are no others, what is there
    counts as not marked.
    """
    photographs = []
    for marked in wider.read_text(path):
        faces = marked.faces[marked.counted["hard"]].astype(np.float32)
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:]], axis=1)
        known = len(boxes) > 0 or not len(marked.faces)
        name = f"{marked.name}.jpg"
        photographs.append(Photograph(images / name, name, boxes if known else None))
    if not photographs:
        raise DatasetError(f"{path}: lists no photographs")
    return photographs


def read(path: Path, images: Path | None = None) -> list[Photograph]:
    """A list of either form, told apart by its suffix: `.txt` is WIDER FACE's."""
    if path.suffix == ".txt":
        return read_wider(path, images or path.parent)
    return read_json_lines(path, images)


def check_files(photographs: Sequence[Photograph]) -> None:
    """DatasetError where files are missing: before a run, rather than hours into it."""
    missing = [str(each.path) for each in photographs if not each.path.is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(photographs)} photographs are not there, such as "
            f"{missing[0]}: check --images"
        )


def split(photographs: Sequence[Photograph], held_out: float) -> tuple[list[Photograph], ...]:
    """Those to train on, and those held out."""
    parts: tuple[list[Photograph], list[Photograph]] = ([], [])
    for photograph in photographs:
        parts[is_held_out(photograph.name, held_out)].append(photograph)
    return parts
