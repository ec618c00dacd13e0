"""A model behind a service finds what it finds here; whatever else answers is one clear line."""

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
from training.evaluation.local import EvaluationError, Local
from training.evaluation.remote import Remote


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
def test_a_service_finds_what_its_detector_finds(
    store: Path, photographs: Path, url: str, tiles: bool
) -> None:
    files = ground_truth.read(photographs / "list.jsonl", photographs).files
    local = Local.open("small", store, "cpu", tiles=tiles)
    remote = Remote.open(url + "/", "small", None, tiles=tiles)
    assert (remote.name, remote.version) == (local.name, local.version)
    assert remote.default_score == local.default_score
    ticks: list[int] = []
    here = local.find(files, 0.3, ticks.append)
    assert sum(ticks) == len(files)
    there = remote.find(files, 0.3, lambda _: None)
    assert sum(len(each.scores) for each in here) > 3
    for one, other in zip(here, there, strict=True):
        assert len(one.scores) == len(other.scores)
        assert np.allclose(one.boxes, other.boxes, atol=0.02)
        assert np.allclose(one.scores, other.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "says"), [("other", "no model 'other', but: small"), (None, "no default model")]
)
def test_a_service_without_the_model_is_refused(model: str | None, says: str) -> None:
    models = {"models": [{**MODEL, "default": False}]}
    answer = http(json.dumps(models).encode())
    with answering(answer) as url, pytest.raises(EvaluationError, match=says):
        Remote.open(url, model, None)


def test_no_service_is_one_line() -> None:
    with pytest.raises(EvaluationError, match=r"no answer of the service: .*refused; check that"):
        Remote.open("http://127.0.0.1:9", None, None)


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
def test_what_is_no_address_of_a_service_is_refused_with_the_form_of_one(url: str) -> None:
    with pytest.raises(UsageError, match=r"no address of a service.*http://HOST:PORT") as caught:
        Remote.open(url, None, None)
    assert "\n" not in str(caught.value)


def test_a_host_whose_name_can_not_be_is_no_answer() -> None:
    with pytest.raises(EvaluationError, match="no answer"):
        Remote.open(f"http://{'a' * 64}.example", None, None)


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError, match="--api-key") as caught:
        Remote.open("http://127.0.0.1:9", None, key)
    assert key not in str(caught.value)


OF_ANOTHER = {
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", r"speaks no HTTP \(SSH-2.0-OpenSSH_9.6\)"),
    "bytes that a terminal obeys": (b"\x1b[2J\x00\xff\r\n", "speaks no HTTP"),
    "silence": (b"", "no answer"),
    "a long line": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n", "speaks no HTTP"),
    "cut short": (http(b'{"models": [', length=999), "ends too early"),
    "cut short between chunks": (
        http(b'5\r\n{"mod', headers={"Transfer-Encoding": "chunked"}),
        "ends too early",
    ),
    "a page": (http(b"<html>\n<p>Welcome</html>"), "answers without JSON"),
    "no text": (http(b"\xff\xd8\xff\xe0"), "answers without JSON"),
    "nothing": (http(b""), "answers without JSON"),
    "too deep": (http(b"[" * 100_000), "answers without JSON"),
    "an object": (http(b"{}"), "answers in another form"),
    "a list": (http(b"[]"), "answers in another form"),
    "null": (http(b"null"), "answers in another form"),
    "a number": (http(b"7"), "answers in another form"),
    "other models": (http(b'{"models": [{"id": "x"}]}'), "answers in another form"),
    "words": (http(b'{"models": "none"}'), "answers in another form"),
    "a score that is none": (
        http(json.dumps({"models": [{**MODEL, "thresholds": {"min_score": "x"}}]}).encode()),
        "answers in another form",
    ),
    "a page that is missing": (
        http(b"<html>\n<p>Not here</html>", "404 Not Found"),
        "404 Not Found, but not as this service says it; check --url",
    ),
    "JSON that is missing": (http(b'"no"', "404 Not Found"), "404 Not Found, but not as"),
}


@pytest.mark.parametrize(("answer", "says"), OF_ANOTHER.values(), ids=OF_ANOTHER.keys())
def test_another_service_is_one_line_that_says_so(answer: bytes, says: str) -> None:
    with answering(answer) as url, pytest.raises(EvaluationError, match=says) as caught:
        Remote.open(url, None, None)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "in another form"),
        (b'{"faces": null}', "in another form"),
        (b'{"faces": [{"box": [1, 2, 3, 4], "score": 1}]}', "in another form"),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": [], "height": 4}, "score": 1}]}',
            "in another form",
        ),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": 3, "height": 4}, "score": null}]}',
            "in another form",
        ),
        (
            b'{"faces": [{"box": {"x": 1, "y": 2, "width": 3, "height": 4}, "score": 1%s}]}'
            % (b"0" * 400),
            "in another form",
        ),
        (b"<p>", "without JSON"),
    ],
)
def test_faces_of_another_form_are_one_line(tmp_path: Path, body: bytes, says: str) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"any")
    with answering(MODELS, http(body)) as url:
        remote = Remote.open(url, None, None)
        with pytest.raises(EvaluationError, match=says):
            remote.find([picture], 0.1, lambda _: None)


def test_what_the_service_says_of_a_refusal_is_passed_on() -> None:
    problem = json.dumps({"title": "Unauthorized", "detail": "the API key is\nnot valid"}).encode()
    with (
        answering(http(problem, "401 Unauthorized")) as url,
        pytest.raises(
            EvaluationError, match="401 Unauthorized: the API key is not valid; check --"
        ),
    ):
        Remote.open(url, None, "key")


def test_a_busy_service_is_asked_again_when_it_says_so() -> None:
    busy = http(b"{}", "503 Service Unavailable", headers={"Retry-After": "0"})
    with answering(busy, busy, MODELS) as url:
        assert Remote.open(url, None, None).name == "small"
