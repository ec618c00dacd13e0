"""The predictor that sends images to a running service over HTTP."""

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
from training.evaluation.predictor import Done, EvaluationError, read_file

SECONDS = 120.0
MAX_PROBLEM_BYTES = 1 << 16
"""How much of an error's body is read."""
WRONG_SERVICE = "this may be another service; check --url"
HINTS = {401: "; check --api-key", 404: "; check --url"}


@dataclass(frozen=True)
class RemotePredictor:
    """A model of a running service."""

    url: str
    name: str
    version: str
    default_score: float
    key: str | None = None
    tiles: bool = False
    """Whether the service also searches large images tile by tile."""

    @classmethod
    def open(
        cls, url: str, model: str | None, key: str | None, *, tiles: bool = False
    ) -> "RemotePredictor":
        """Ask the service which models it runs, and choose `model` or its default."""
        base = _base(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError("--api-key: has characters that are not allowed in an HTTP header")
        address = f"{base}/models"
        answer = _ask(urllib.request.Request(address, headers=_headers(key)))
        with _expected_form(address):
            for each in answer["models"]:
                meant = each["default"] if model is None else each["name"] == model
                if meant:
                    score = float(each["thresholds"]["min_score"])
                    return cls(base, each["name"], each["version"], score, key, tiles)
            offered = ", ".join(each["name"] for each in answer["models"])
        wanted = "default model" if model is None else f"model {model!r}"
        raise EvaluationError(f"{base} has no {wanted}; its models: {offered or 'none'}")

    @property
    def fingerprint(self) -> None:
        """None: the service may change between two requests."""

    def predict(self, files: Sequence[Path], min_score: float, done: Done) -> list[Detections]:
        """See Predictor."""
        tiles = "auto" if self.tiles else "off"
        query = urllib.parse.urlencode({"min_score": min_score, "model": self.name, "tiles": tiles})
        address = f"{self.url}/detect?{query}"

        def one(index: int, file: Path) -> Detections:
            headers = {"Content-Type": "application/octet-stream", **_headers(self.key)}
            answer = _ask(urllib.request.Request(address, data=read_file(file), headers=headers))
            with _expected_form(address):
                found = _detections(answer["faces"])
            done(index, found)
            return found

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, range(len(files)), files))

    def close(self) -> None:
        """Do nothing: no connection stays open after `predict`."""


def _detections(faces: Sequence[Any]) -> Detections:
    rows = [[face["box"][side] for side in ("x", "y", "width", "height")] for face in faces]
    boxes = np.asarray(rows, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Detections(boxes, np.asarray([float(face["score"]) for face in faces], np.float64))


def _base(url: str) -> str:
    """The URL without a slash at its end; UsageError if no path can be appended to it."""
    try:
        parts = urllib.parse.urlsplit(url)
        # The port is only checked when it is read.
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    # A path can't follow a query, and urllib sends neither credentials nor spaces in a URL.
    if not usable or not url.isascii() or not url.isprintable() or set(url) & set(" @?#"):
        raise UsageError(
            f"--url {url!r}: is not the address of a service; write http://HOST:PORT or "
            "https://HOST/PATH, without spaces, credentials or a query"
        )
    return url.rstrip("/")


def _ask(request: urllib.request.Request) -> Any:
    """The JSON of the answer."""
    content = _fetch(request)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{request.full_url}: the answer is not JSON; {WRONG_SERVICE}"
        ) from error


def _fetch(request: urllib.request.Request) -> bytes:
    """The body of the answer. A busy service is asked again after its Retry-After."""
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
        # This comes before HTTPException, because a connection that closes without an answer is
        # both. A ValueError is a host name that DNS does not allow.
        except (OSError, ValueError) as error:
            reason = _line(getattr(error, "reason", error))
            raise EvaluationError(
                f"{url}: the service does not answer: {reason}; check that it runs, and check --url"
            ) from error
        except IncompleteRead as error:
            raise EvaluationError(
                f"{url}: the answer is incomplete; see the log of the service, and of any proxy "
                "in front of it"
            ) from error
        except HTTPException as error:
            raise EvaluationError(
                f"{url}: the answer is not HTTP ({_line(error)}); {WRONG_SERVICE}"
            ) from error


def _refusal(error: urllib.error.HTTPError) -> str:
    """Why a request was refused, in the service's words if they are its own."""
    status = _line(f"{error.code} {error.reason}")
    try:
        detail = json.loads(error.read(MAX_PROBLEM_BYTES))["detail"]
    except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
        return f"{status}, in a format that is not this service's; check --url and any proxy"
    return f"{status}: {_line(detail)}{HINTS.get(error.code, '')}"


@contextmanager
def _expected_form(url: str) -> Iterator[None]:
    """Raise EvaluationError for an answer without the members of this service's answers."""
    try:
        yield
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise EvaluationError(
            f"{url}: the answer has an unexpected form; {WRONG_SERVICE}"
        ) from error


def _line(text: object) -> str:
    """One short line without control characters: the text may come from anyone."""
    plain = "".join(each if each.isprintable() else " " for each in str(text))
    return " ".join(plain.split())[:200]


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
