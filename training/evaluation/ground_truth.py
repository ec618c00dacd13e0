"""Reads ground truth of any format, together with the image files that are present."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geometry.arrays import F64, I64
from training.data import wider as annotations
from training.data.dataset import read_json_lines, split
from training.data.holdout import is_held_out
from training.data.wider import Annotation, GroundTruthError
from training.evaluation import attributes, wider
from training.evaluation.attributes import Attributes
from training.evaluation.curves import (
    Curve,
    Detections,
    precision_recall,
    weighted_average_precisions,
)


@dataclass(frozen=True)
class GroundTruth:
    """The labelled faces, and the rules by which detections are counted against them."""

    rules: str
    files: Sequence[Path]
    missing: int
    """Number of labelled images whose files are missing. They are left out."""
    annotations: Sequence[Annotation] = ()
    """One for each file, if WIDER FACE's protocol is to be followed."""
    boxes: Sequence[F64] = ()
    """Otherwise, corners [N, 4] for each file. Every face is labelled."""
    attributes: Sequence[Attributes] = ()
    """WIDER FACE's attributes of the faces of each file, if the ground truth has them."""

    @property
    def faces(self) -> Sequence[F64]:
        """All faces of each file as corners [N, 4], also those that no subset counts."""
        if not self.annotations:
            return self.boxes
        every = [each.faces for each in self.annotations]
        return [np.concatenate([own[:, :2], own[:, :2] + own[:, 2:]], 1) for own in every]

    def curves(self, found: Sequence[Detections]) -> Mapping[str, Curve]:
        """A curve for each subset, given the detections of each file."""
        if self.annotations:
            named = {each.name: one for each, one in zip(self.annotations, found, strict=True)}
            return wider.curves(named, self.annotations)
        return {"all": precision_recall(found, self.boxes, "all")}

    def average_precisions(
        self, found: Sequence[Detections], weights: Sequence[I64]
    ) -> Mapping[str, F64]:
        """By subset, the average precision for each row of `weights`.

        A row [N] says how often each file counts: the samples of a bootstrap.
        """
        if self.annotations:
            named = {each.name: one for each, one in zip(self.annotations, found, strict=True)}
            return wider.average_precisions(named, self.annotations, weights)
        return {"all": weighted_average_precisions(found, self.boxes, weights)}


def read(path: Path, images: Path, held_out: float | None = None) -> GroundTruth:
    """A folder of `.mat` files, WIDER FACE's annotation text (.txt), or JSON lines (.jsonl).

    Images of JSON lines whose boxes are null are left out. With `held_out`, only the share that
    `sfd train` does not train on, given the same list and share, is kept.
    """
    if path.suffix == ".jsonl":
        return _json_lines(path, images, held_out)
    if path.suffix == ".mat" and path.is_file():
        raise GroundTruthError(f"{path}: is one of four files; give their folder, {path.parent}")
    if path.is_dir():
        if held_out is not None:
            raise GroundTruthError(
                f"{path}: `sfd train` does not read .mat files; give the list that was trained on "
                "(.jsonl or .txt), or remove --held-out"
            )
        listed = annotations.read_mat(path)
        of_faces = attributes.read_mat(path)
        rules = "WIDER FACE, official (.mat, 1000 thresholds)"
    else:
        listed = [
            each
            for each in annotations.read_text(path)
            if held_out is None or is_held_out(f"{each.name}.jpg", held_out)
        ]
        if not listed:
            raise GroundTruthError(nothing_listed(path, held_out))
        of_faces = {each.name: attributes.of_text(each) for each in listed}
        rules = "WIDER FACE (annotation text, every valid face as hard, 1000 thresholds)"
    for image in listed:
        for name, values in of_faces[image.name].items():
            if len(values) != len(image.faces):
                raise GroundTruthError(
                    f"{path}: {image.name} has {len(image.faces)} faces, but {len(values)} values "
                    f"of {name}; use the files of one release of WIDER FACE"
                )
    present = [each for each in listed if (images / f"{each.name}.jpg").is_file()]
    _check(present, path, images)
    files = [images / f"{each.name}.jpg" for each in present]
    return GroundTruth(
        rules,
        files,
        len(listed) - len(present),
        annotations=present,
        attributes=[of_faces[each.name] for each in present],
    )


def _json_lines(path: Path, images: Path, held_out: float | None) -> GroundTruth:
    listed = read_json_lines(path, images)
    if held_out is not None:
        listed = split(listed, held_out)[1]
        if not listed:
            raise GroundTruthError(nothing_listed(path, held_out))
    labelled = [each for each in listed if each.boxes is not None]
    if not labelled:
        share = " of the held-out share" if held_out is not None else ""
        raise GroundTruthError(
            f'{path}: no image{share} has labels, because all "boxes" are null; give a list with '
            "labelled faces"
        )
    present = [each for each in labelled if each.path.is_file()]
    _check(present, path, images)
    boxes = [np.asarray(each.boxes, np.float64).reshape(-1, 4) for each in present]
    rules = "average precision at IoU 0.5, all scores"
    files = [each.path for each in present]
    return GroundTruth(rules, files, len(labelled) - len(present), boxes=boxes)


def nothing_listed(path: Path, held_out: float | None) -> str:
    """The message for a list, or for a held-out share of it, that has no images."""
    if held_out is None:
        return f"{path}: lists no images"
    return f"{path}: a share of {held_out:g} holds out no image; give a larger --held-out"


def _check(present: Sequence[object], path: Path, images: Path) -> None:
    if not present:
        raise GroundTruthError(
            f"none of the images that {path} names is in {images}: check --images"
        )
