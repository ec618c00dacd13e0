"""The predictor that runs a model of the store in this process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detection import settings
from detection.detector import Detector, Query
from detection.errors import RequestError
from detection.opening import find_model, open_detector
from detection.retries import detect_group
from detection.settings import DetectionSettings
from training.evaluation.curves import Detections
from training.evaluation.fingerprint import fingerprint
from training.evaluation.predictor import Done, EvaluationError, read_file

FILES_AT_ONCE = 8


@dataclass(frozen=True)
class LocalPredictor:
    """A model of the store, opened as `sfd detect` opens it, without a server."""

    detector: Detector
    tiles: bool = False
    """Whether large images are also searched tile by tile."""

    @classmethod
    def open(
        cls, name: str, store: Path | None, provider: str | None, *, tiles: bool = False
    ) -> "LocalPredictor":
        """Open a model; ModelError or StartError says why it can't be opened."""
        configured = settings.load(
            DetectionSettings, models=(), default_model=name, model_store=store, provider=provider
        )
        return cls(open_detector(find_model(configured, name), configured), tiles)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.detector.session.model.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.detector.session.model.version

    @property
    def default_score(self) -> float:
        """Default score of the model."""
        return self.detector.session.model.thresholds.default_score

    @property
    def fingerprint(self) -> str:
        """See Predictor."""
        session = self.detector.session
        how = (
            str(self.tiles),
            str(self.detector.oversampling),
            str(session.second is not None),
        )
        return fingerprint(session.model, session.provider, session.precision, *how)

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        """See Predictor."""
        return asyncio.run(self._predict(files, min_score, done))

    async def _predict(
        self, files: Sequence[Path], min_score: float, done: Done
    ) -> list[Detections]:
        query = Query(min_score=min_score, tiles=self.tiles)
        found: list[Detections] = []
        at_once = self.detector.group(FILES_AT_ONCE, query)
        for start in range(0, len(files), at_once):
            group = files[start : start + at_once]
            contents = [read_file(file) for file in group]
            answers = await detect_group(self.detector, contents, query)
            for file, answer in zip(group, answers, strict=True):
                if isinstance(answer, RequestError):
                    raise EvaluationError(f"{file}: {answer}")
                boxes = np.asarray(answer.boxes, np.float64)
                faces = Detections(boxes, np.asarray(answer.scores, np.float64))
                done(len(found), faces)
                found.append(faces)
        return found

    def close(self) -> None:
        """End the threads of the detector."""
        asyncio.run(self.detector.close())
