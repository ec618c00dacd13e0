"""What finds faces in files, and the one that is the service's own code in this process."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from service import runtime, settings
from service.detector import Query
from service.errors import Problem
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


@dataclass(frozen=True)
class Local:
    """A model of the store through the service's detector, without a server."""

    name: str
    version: str
    default_score: float
    store: Path | None
    provider: str | None
    tiles: bool = False
    """Whether to look at the tiles of large images too."""

    @classmethod
    def open(
        cls, name: str, store: Path | None, provider: str | None, *, tiles: bool = False
    ) -> "Local":
        """Check that the model is there and built."""
        model = _load(name, store, provider).default.network.model
        score = model.thresholds.default_score
        return cls(model.name, model.version, score, store, provider, tiles)

    def find(self, files: Sequence[Path], min_score: float, progress: Progress) -> list[Detections]:
        """As Finder says."""
        return asyncio.run(self._find(files, min_score, progress))

    async def _find(
        self, files: Sequence[Path], min_score: float, progress: Progress
    ) -> list[Detections]:
        loaded = _load(self.name, self.store, self.provider)
        query = Query(min_score=min_score, tiles=self.tiles)
        found = []
        at_once = loaded.default.group(FILES_AT_ONCE, query)
        for start in range(0, len(files), at_once):
            group = files[start : start + at_once]
            contents = [read_file(file) for file in group]
            answers = await loaded.default.detect_all(contents, query, float("inf"))
            for file, answer in zip(group, answers, strict=True):
                if isinstance(answer, Problem):
                    raise EvaluationError(f"{file}: {answer}")
                boxes = np.asarray(answer.boxes, np.float64)
                found.append(Detections(boxes, np.asarray(answer.scores, np.float64)))
            progress(len(group))
        await loaded.close()
        return found


def _load(name: str, store: Path | None, provider: str | None) -> runtime.Runtime:
    return runtime.load(
        settings.load(models=(), default_model=name, model_store=store, provider=provider)
    )


def read_file(file: Path) -> bytes:
    """The bytes of an image file."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read: {error.strerror}") from error
