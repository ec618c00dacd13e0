"""What finds faces in files, and the one that is the service's own code in this process."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from detection import settings
from detection.detector import Detector, Query
from detection.errors import RequestError
from detection.opening import find_model, open_detector
from detection.settings import DetectionSettings
from sfd.errors import SfdError
from training.evaluation.curves import Detections

FILES_AT_ONCE = 8

Progress = Callable[[int], object]


class EvaluationError(SfdError):
    """A measurement that can't be made."""


class Finder(Protocol):
    """A detector for files."""

    @property
    def name(self) -> str:
        """Of the model."""

    @property
    def version(self) -> str:
        """Of the model."""

    @property
    def default_score(self) -> float:
        """The score at which the service counts a face, where the request says nothing."""

    def find(self, files: Sequence[Path], min_score: float, progress: Progress) -> list[Detections]:
        """The faces of each file with a score above `min_score`, in pixels, best first."""

    def close(self) -> None:
        """Give back what it holds open."""


@dataclass(frozen=True)
class Local:
    """A model of the store, opened as `sfd detect` opens it, without a server."""

    detector: Detector
    tiles: bool = False
    """Whether to look at the tiles of large images too."""

    @classmethod
    def open(
        cls, name: str, store: Path | None, provider: str | None, *, tiles: bool = False
    ) -> "Local":
        """Open a model; ModelError or StartError says why it can't be."""
        configured = settings.load(
            DetectionSettings, models=(), default_model=name, model_store=store, provider=provider
        )
        return cls(open_detector(find_model(configured, name), configured), tiles)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.detector.session.model.name

    @property
    def version(self) -> str:
        """Of the model."""
        return self.detector.session.model.version

    @property
    def default_score(self) -> float:
        """Of the model."""
        return self.detector.session.model.thresholds.default_score

    def find(self, files: Sequence[Path], min_score: float, progress: Progress) -> list[Detections]:
        """As Finder says."""
        return asyncio.run(self._find(files, min_score, progress))

    async def _find(
        self, files: Sequence[Path], min_score: float, progress: Progress
    ) -> list[Detections]:
        query = Query(min_score=min_score, tiles=self.tiles)
        found = []
        at_once = self.detector.group(FILES_AT_ONCE, query)
        for start in range(0, len(files), at_once):
            group = files[start : start + at_once]
            contents = [read_file(file) for file in group]
            answers = await self.detector.detect_all(contents, query, float("inf"))
            for file, answer in zip(group, answers, strict=True):
                if isinstance(answer, RequestError):
                    raise EvaluationError(f"{file}: {answer}")
                boxes = np.asarray(answer.boxes, np.float64)
                found.append(Detections(boxes, np.asarray(answer.scores, np.float64)))
            progress(len(group))
        return found

    def close(self) -> None:
        """End its threads."""
        asyncio.run(self.detector.close())


def read_file(file: Path) -> bytes:
    """The bytes of an image file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read: {error.strerror}") from error
