"""Keeps detections in files as they are made, so that a stopped measurement can continue.

A file has the detections of one detector: lines of JSON, one for each image. Its name has the
detector's fingerprint. So a file is only ever appended to, and a detector that changed gets a
new one.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.evaluation.curves import Detections
from training.evaluation.predictor import Done, EvaluationError, Predictor, read_file


@dataclass
class Kept:
    """The file of one detector, open for reading and appending."""

    path: Path
    file: BinaryIO
    known: dict[str, Detections] = field(default_factory=dict)
    """By the hash of the image file."""

    def predict(
        self, predictor: Predictor, files: Sequence[Path], min_score: float, done: Done
    ) -> list[Detections]:
        """What `predictor.predict` returns; only images that are not in the file are looked at."""
        keys = [hashlib.sha256(read_file(file)).hexdigest() for file in files]
        missing = []
        for index, key in enumerate(keys):
            if key in self.known:
                done(index, self.known[key])
            else:
                missing.append(index)

        def keep(at: int, found: Detections) -> None:
            index = missing[at]
            self._append(keys[index], files[index].name, found)
            done(index, found)

        predictor.predict([files[index] for index in missing], min_score, keep)
        return [self.known[key] for key in keys]

    def _append(self, key: str, name: str, found: Detections) -> None:
        line = {
            "sha256": key,
            "image": name,
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
        }
        try:
            self.file.write(json.dumps(line).encode() + b"\n")
            self.file.flush()
        except OSError as error:
            raise EvaluationError(f"{self.path}: can't be written: {error.strerror}") from error
        self.known[key] = found


@contextmanager
def opened(folder: Path, predictor: Predictor, min_score: float) -> Iterator[Kept]:
    """Open the file of this detector in `folder`, or begin one.

    Raises EvaluationError for a detector without a fingerprint, for a damaged file, and if another
    process uses the file.
    """
    if predictor.fingerprint is None:
        raise EvaluationError("the answers of a service can't be kept: it may change meanwhile")
    key = hashlib.sha256(f"{predictor.fingerprint} {min_score!r}".encode()).hexdigest()[:16]
    path = folder / f"{predictor.name}-{key}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise EvaluationError(f"{path}: can't be opened: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvaluationError(
                f"{path}: another evaluation uses it; wait for its end"
            ) from error
        except OSError as error:
            raise EvaluationError(f"{path}: can't be locked: {error.strerror}") from error
        yield Kept(path, file, _read(path, file))


def _read(path: Path, file: BinaryIO) -> dict[str, Detections]:
    """The detections in a file, by hash. The line at which a process was stopped is removed."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    file.truncate(whole)
    known = {}
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            row: dict[str, Any] = json.loads(line)
            boxes = np.asarray(row["boxes"], np.float64).reshape(-1, 4)
            scores = np.asarray(row["scores"], np.float64).reshape(len(boxes))
            known[str(row["sha256"])] = Detections(boxes, scores)
        except (ValueError, LookupError, TypeError) as error:
            raise EvaluationError(
                f"{path}, line {number}: is not a line of kept detections; remove the file"
            ) from error
    return known
