"""A running service, asked by HTTP as any client would."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Any

import numpy as np

from sfd.errors import UsageError
from training.evaluation.curves import Detections
from training.evaluation.local import EvaluationError, Progress, read_file

SECONDS = 120.0
MOST_PROBLEM = 1 << 16
"""Bytes read of an answer that refuses."""
STRANGER = "is it another service? Check --url"
HINTS = {401: "; check --api-key", 404: "; check --url"}


@dataclass(frozen=True)
class Remote:
    """A running service, as a Finder."""

    url: str
    name: str
    version: str
    default_score: float
    key: str | None = None
    tiles: bool = False
    """Whether it is to look at the tiles of large images too."""

    @classmethod
    def open(cls, url: str, model: str | None, key: str | None, *, tiles: bool = False) -> "Remote":
        """Ask the service what it runs."""
        base = _base(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError("--api-key: has characters that an HTTP header can't carry")
        address = f"{base}/models"
        answer = _ask(urllib.request.Request(address, headers=_headers(key)))
        with _familiar(address):
            for each in answer["models"]:
                meant = each["default"] if model is None else each["name"] == model
                if meant:
                    score = float(each["thresholds"]["min_score"])
                    return cls(base, each["name"], each["version"], score, key, tiles)
            offered = ", ".join(each["name"] for each in answer["models"])
        wanted = "default model" if model is None else f"model {model!r}"
        raise EvaluationError(f"{base} has no {wanted}, but: {offered or 'none'}")

    def find(self, files: Sequence[Path], min_score: float, progress: Progress) -> list[Detections]:
        """As Finder says."""
        tiles = "auto" if self.tiles else "off"
        query = urllib.parse.urlencode({"min_score": min_score, "model": self.name, "tiles": tiles})
        address = f"{self.url}/detect?{query}"

        def one(file: Path) -> Detections:
            headers = {"Content-Type": "application/octet-stream", **_headers(self.key)}
            answer = _ask(urllib.request.Request(address, data=read_file(file), headers=headers))
            with _familiar(address):
                found = _detections(answer["faces"])
            progress(1)
            return found

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, files))

    def close(self) -> None:
        """Nothing is held open between two calls of `find`."""


def _detections(faces: Sequence[Any]) -> Detections:
    rows = [[face["box"][side] for side in ("x", "y", "width", "height")] for face in faces]
    boxes = np.asarray(rows, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(boxes, np.asarray([float(face["score"]) for face in faces], np.float64))


def _base(url: str) -> str:
    """The URL without a slash at its end, when it is one that paths can be added to."""
    try:
        parts = urllib.parse.urlsplit(url)
        # Only reading the port checks it.
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    # No path can be added to a query, and urllib sends neither a name before the host nor the rest.
    if not usable or not url.isascii() or not url.isprintable() or set(url) & set(" @?#"):
        raise UsageError(
            f"--url {url!r}: is no address of a service; it looks like http://HOST:PORT or "
            "https://HOST/PATH, without spaces, a name before the host, or a query"
        )
    return url.rstrip("/")


def _ask(request: urllib.request.Request) -> Any:
    """The JSON that answers."""
    content = _fetch(request)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{request.full_url}: answers without JSON; {STRANGER}") from error


def _fetch(request: urllib.request.Request) -> bytes:
    """What answers; a busy service is asked again when it says so."""
    url = request.full_url
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                refusal = _refusal(error)
            wait = error.headers.get("Retry-After", "")
            if error.code == 503 and wait.isdecimal() and time.monotonic() + int(wait) < deadline:
                time.sleep(int(wait))
                continue
            raise EvaluationError(f"{url}: {refusal}") from error
        # Before HTTPException: a connection that is closed without a word is both. A ValueError is
        # a host's name that DNS can't have.
        except (OSError, ValueError) as error:
            reason = _line(getattr(error, "reason", error))
            raise EvaluationError(
                f"{url}: no answer of the service: {reason}; check that it runs, and --url"
            ) from error
        except IncompleteRead as error:
            raise EvaluationError(
                f"{url}: the answer ends too early; see the log of the service, and of what "
                "stands before it"
            ) from error
        except HTTPException as error:
            raise EvaluationError(
                f"{url}: what answers speaks no HTTP ({_line(error)}); {STRANGER}"
            ) from error


def _refusal(error: urllib.error.HTTPError) -> str:
    """What the service says of a request that it refuses, or that it wasn't the service."""
    status = _line(f"{error.code} {error.reason}")
    try:
        detail = json.loads(error.read(MOST_PROBLEM))["detail"]
    except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return f"{status}, but not as this service says it; check --url and what stands before it"
    return f"{status}: {_line(detail)}{HINTS.get(error.code, '')}"


@contextmanager
def _familiar(url: str) -> Iterator[None]:
    """EvaluationError where an answer hasn't the members that this service's has."""
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise EvaluationError(f"{url}: answers in another form; {STRANGER}") from error


def _line(text: object) -> str:
    """One short line without what a terminal would obey: a stranger may have written it."""
    plain = "".join(each if each.isprintable() else " " for each in str(text))
    return " ".join(plain.split())[:200]


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
