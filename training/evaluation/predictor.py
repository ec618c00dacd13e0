"""What every predictor has: a model that finds the faces of image files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sfd.errors import SfdError
from training.evaluation.curves import Detections

Done = Callable[[int, Detections], object]
"""Called with the index and the faces of each file as soon as it is finished, in any order."""


class EvaluationError(SfdError):
    """A detector that can't be measured."""


class Predictor(Protocol):
    """A detector of image files."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> str:
        """Version of the model."""

    @property
    def default_score(self) -> float:
        """The score from which the service reports a face, if the request does not say."""

    @property
    def fingerprint(self) -> str | None:
        """A hash of all that decides the detections; None for a service, which may change."""

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        """The faces of each file with a score above `min_score`, in pixels, best first."""

    def close(self) -> None:
        """Release what is held open."""


def read_file(file: Path) -> bytes:
    """The bytes of an image file; EvaluationError if it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read: {error.strerror}") from error
