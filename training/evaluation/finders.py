"""Who finds the faces: the service's own code in this process, or a running service."""

import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from service import runtime, settings
from service.detector import Query
from service.errors import Problem
from sfd.errors import SfdError
from training.evaluation.curves import Detections

FILES_AT_ONCE = 8
SECONDS = 120.0

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
        # The tiles of one image fill batches, and the queue, by themselves.
        at_once = 1 if self.tiles else FILES_AT_ONCE
        for start in range(0, len(files), at_once):
            group = files[start : start + at_once]
            contents = [_read(file) for file in group]
            answers = await loaded.default.detect_all(contents, query, float("inf"))
            for file, answer in zip(group, answers, strict=True):
                if isinstance(answer, Problem):
                    raise EvaluationError(f"{file}: {answer}")
                boxes = np.asarray(answer.boxes, np.float64)
                found.append(Detections(boxes, np.asarray(answer.scores, np.float64)))
            progress(len(group))
        await loaded.close()
        return found


@dataclass(frozen=True)
class Remote:
    """A running service, asked by HTTP as any client would."""

    url: str
    name: str
    version: str
    default_score: float
    key: str | None = None
    tiles: bool = False

    @classmethod
    def open(cls, url: str, model: str | None, key: str | None, *, tiles: bool = False) -> "Remote":
        """Ask the service what it runs."""
        base = url.rstrip("/")
        answer = _ask(urllib.request.Request(f"{base}/models", headers=_headers(key)))
        models = answer["models"] if isinstance(answer, dict) else answer
        for each in models:
            if each["name"] == model or (model is None and each["default"]):
                score = float(each["thresholds"]["min_score"])
                return cls(base, each["name"], each["version"], score, key, tiles)
        raise EvaluationError(f"{url} has no model {model!r}")

    def find(self, files: Sequence[Path], min_score: float, progress: Progress) -> list[Detections]:
        """As Finder says."""
        tiles = "auto" if self.tiles else "off"
        query = urllib.parse.urlencode({"min_score": min_score, "model": self.name, "tiles": tiles})

        def one(file: Path) -> Detections:
            headers = {"Content-Type": "application/octet-stream", **_headers(self.key)}
            request = urllib.request.Request(
                f"{self.url}/detect?{query}", data=_read(file), headers=headers
            )
            faces = _ask(request)["faces"]
            rows = [[face["box"][side] for side in ("x", "y", "width", "height")] for face in faces]
            boxes = np.asarray(rows, np.float64).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            progress(1)
            return Detections(boxes, np.asarray([face["score"] for face in faces], np.float64))

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, files))


def _load(name: str, store: Path | None, provider: str | None) -> runtime.Runtime:
    return runtime.load(
        settings.load(models=(), default_model=name, model_store=store, provider=provider)
    )


def _ask(request: urllib.request.Request) -> Any:
    """The JSON that answers; a busy service is asked again when it says so."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read(2000).decode("utf-8", "replace")
            wait = error.headers.get("Retry-After", "")
            if error.code == 503 and wait.isdecimal() and time.monotonic() + int(wait) < deadline:
                time.sleep(int(wait))
                continue
            raise EvaluationError(f"{request.full_url}: {error.code}: {detail}") from error
        except (OSError, ValueError) as error:
            raise EvaluationError(
                f"{request.full_url}: no answer of the service: {error}"
            ) from error


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{file}: can't be read: {error.strerror}") from error
