"""A service predicts what its model predicts here; any other answer is one clear line."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sfd.errors import UsageError
from training.evaluation import ground_truth
from training.evaluation.local import LocalPredictor
from training.evaluation.predictor import EvaluationError
from training.evaluation.remote import RemotePredictor


@contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """The URL of a port that reads a request and sends the next of the answers, HTTP or not."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as request:
                length = 0
                while line := request.readline().strip().lower():
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                # A socket that is closed with unread bytes resets the connection.
                request.read(length)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()
        listener.close()


def http(
    body: bytes,
    status: str = "200 OK",
    length: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """An answer whose header may promise more than its body has."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


MODEL = {"name": "small", "version": "1", "default": True, "thresholds": {"min_score": 0.5}}
MODELS = http(json.dumps({"models": [MODEL]}).encode())


@pytest.mark.parametrize("tiles", [False, True], ids=["whole", "tiles"])
def test_a_service_predicts_what_its_detector_predicts(
    store: Path, labelled_folder: Path, url: str, tiles: bool
) -> None:
    files = ground_truth.read(labelled_folder / "list.jsonl", labelled_folder).files
    local = LocalPredictor.open("small", store, "cpu", tiles=tiles)
    remote = RemotePredictor.open(url + "/", "small", None, tiles=tiles)
    assert (remote.name, remote.version) == (local.name, local.version)
    assert remote.default_score == local.default_score
    ticks: list[int] = []
    here = local.predict(files, 0.3, lambda index, _: ticks.append(index))
    assert ticks == list(range(len(files)))
    there = remote.predict(files, 0.3, lambda *_: None)
    assert sum(len(each.scores) for each in here) > 3
    for one, other in zip(here, there, strict=True):
        assert len(one.scores) == len(other.scores)
        assert np.allclose(one.boxes, other.boxes, atol=0.02)
        assert np.allclose(one.scores, other.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "says"),
    [("other", "no model 'other'; its models: small"), (None, "no default model")],
)
def test_a_service_without_the_model_is_refused(model: str | None, says: str) -> None:
    models = {"models": [{**MODEL, "default": False}]}
    answer = http(json.dumps(models).encode())
    with answering(answer) as url, pytest.raises(EvaluationError, match=says):
        RemotePredictor.open(url, model, None)


def test_a_missing_service_is_reported_in_one_line() -> None:
    with pytest.raises(
        EvaluationError, match=r"the service does not answer: .*refused; check that"
    ):
        RemotePredictor.open("http://127.0.0.1:9", None, None)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "faces.example",
        "localhost:8080",
        "http://",
        "http://:8080",
        "http://faces.example:http",
        "http://faces.example:99999",
        "http://[::1",
        "http://faces .example",
        "http://faces.example/a b",
        "http://faces.example/\n",
        "http://fäces.example",
        "http://name:word@faces.example",
        "http://faces.example/?a=b",
        "file:///etc/hostname",
        "ftp://faces.example",
    ],
)
def test_a_malformed_url_is_refused_with_the_expected_form(url: str) -> None:
    with pytest.raises(
        UsageError, match=r"not the address of a service.*http://HOST:PORT"
    ) as caught:
        RemotePredictor.open(url, None, None)
    assert "\n" not in str(caught.value)


def test_an_impossible_host_name_is_reported() -> None:
    with pytest.raises(EvaluationError, match="does not answer"):
        RemotePredictor.open(f"http://{'a' * 64}.example", None, None)


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_does_not_fit_a_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError, match="--api-key") as caught:
        RemotePredictor.open("http://127.0.0.1:9", None, key)
    assert key not in str(caught.value)


WRONG_ANSWERS = {
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", r"the answer is not HTTP \(SSH-2.0-OpenSSH_9.6\)"),
    "control characters": (b"\x1b[2J\x00\xff\r\n", "the answer is not HTTP"),
    "silence": (b"", "does not answer"),
    "a long line": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n", "the answer is not HTTP"),
    "cut short": (http(b'{"models": [', length=999), "the answer is incomplete"),
    "cut short between chunks": (
        http(b'5\r\n{"mod', headers={"Transfer-Encoding": "chunked"}),
        "the answer is incomplete",
    ),
    "a page": (http(b"<html>\n<p>Welcome</html>"), "the answer is not JSON"),
    "no text": (http(b"\xff\xd8\xff\xe0"), "the answer is not JSON"),
    "nothing": (http(b""), "the answer is not JSON"),
    "too deep": (http(b"[" * 100_000), "the answer is not JSON"),
    "an object": (http(b"{}"), "the answer has an unexpected form"),
    "a list": (http(b"[]"), "the answer has an unexpected form"),
    "null": (http(b"null"), "the answer has an unexpected form"),
    "a number": (http(b"7"), "the answer has an unexpected form"),
    "other models": (http(b'{"models": [{"id": "x"}]}'), "the answer has an unexpected form"),
    "words": (http(b'{"models": "none"}'), "the answer has an unexpected form"),
    "a score that is not a number": (
        http(json.dumps({"models": [{**MODEL, "thresholds": {"min_score": "x"}}]}).encode()),
        "the answer has an unexpected form",
    ),
    "a missing page": (
        http(b"<html>\n<p>Not here</html>", "404 Not Found"),
        "404 Not Found, in a format that is not this service's; check --url",
    ),
    "missing, with JSON": (http(b'"no"', "404 Not Found"), "404 Not Found, in a format"),
}


@pytest.mark.parametrize(("answer", "says"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
def test_another_service_is_reported_in_one_line(answer: bytes, says: str) -> None:
    with answering(answer) as url, pytest.raises(EvaluationError, match=says) as caught:
        RemotePredictor.open(url, None, None)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "an unexpected form"),
        (b'{"faces": null}', "an unexpected form"),
        (b'{"faces": [{"box": [1, 2, 3, 4], "score": 1}]}', "an unexpected form"),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": [], "height": 4}, "score": 1}]}',
            "an unexpected form",
        ),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": 3, "height": 4}, "score": null}]}',
            "an unexpected form",
        ),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": 3, "height": 4}, "score": 1%s}]}'
            % (b"0" * 400),
            "an unexpected form",
        ),
        (b"<p>", "is not JSON"),
    ],
)
def test_malformed_faces_are_reported_in_one_line(tmp_path: Path, body: bytes, says: str) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"any")
    with answering(MODELS, http(body)) as url:
        remote = RemotePredictor.open(url, None, None)
        with pytest.raises(EvaluationError, match=says):
            remote.predict([picture], 0.1, lambda *_: None)


def test_the_reason_of_a_refusal_is_passed_on() -> None:
    problem = json.dumps({"title": "Unauthorized", "detail": "the API key is\nnot valid"}).encode()
    with (
        answering(http(problem, "401 Unauthorized")) as url,
        pytest.raises(
            EvaluationError, match="401 Unauthorized: the API key is not valid; check --"
        ),
    ):
        RemotePredictor.open(url, None, "key")


def test_a_busy_service_is_asked_again_after_its_retry_after() -> None:
    busy = http(b"{}", "503 Service Unavailable", headers={"Retry-After": "0"})
    with answering(busy, busy, MODELS) as url:
        assert RemotePredictor.open(url, None, None).name == "small"
