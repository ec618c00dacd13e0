"""`pull` from a real server on this machine that misbehaves."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from pydantic import TypeAdapter

from sfd.errors import SfdError
from sfd.files import sha256
from store import catalog, model
from store.catalog import Catalog, Download, Entry
from store.model import Description, ModelError
from store.pull import pull

ROOT = Path(__file__).parents[2]

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def whole(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def short(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])


def short_without_length(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(body[:-1])


def long(request: BaseHTTPRequestHandler, body: bytes) -> None:
    whole(request, body + b"\0")


def endless(request: BaseHTTPRequestHandler, body: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(1 << 16))


def changed(request: BaseHTTPRequestHandler, body: bytes) -> None:
    whole(request, bytes([body[0] ^ 1]) + body[1:])


def missing(request: BaseHTTPRequestHandler, _: bytes) -> None:
    request.send_error(404)


def broken(request: BaseHTTPRequestHandler, _: bytes) -> None:
    request.wfile.write(b"this is no HTTP\r\n\r\n")


def reset(request: BaseHTTPRequestHandler, body: bytes) -> None:
    short(request, body)
    request.wfile.flush()
    # Linger 0 turns the close into a reset.
    linger = b"\1\0\0\0\0\0\0\0"
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def silent(request: BaseHTTPRequestHandler, _: bytes) -> None:
    time.sleep(2)


def away(request: BaseHTTPRequestHandler, _: bytes) -> None:
    request.send_response(302)
    request.send_header("Location", "http://example.com/weights")
    request.end_headers()


def into_a_file(request: BaseHTTPRequestHandler, _: bytes) -> None:
    request.send_response(302)
    request.send_header("Location", "file:///etc/hostname")
    request.end_headers()


def around(request: BaseHTTPRequestHandler, body: bytes) -> None:
    if request.path.endswith("/again"):
        return whole(request, body)
    request.send_response(302)
    request.send_header("Location", f"{request.path}/again")
    request.end_headers()
    return None


@dataclass
class Server:
    """Serves files by name; `answers` has the names with another answer than the whole file."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.split("/")[1]
            made.asked.set()
            self.close_connection = True
            # The client may have closed the connection.
            with suppress(BrokenPipeError, ConnectionResetError):
                made.answers.get(name, whole)(self, made.files[name])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made = Server(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        listening.shutdown()
        thread.join()


@pytest.fixture
def offered(server: Server, unbuilt: model.Model) -> Catalog:
    """The tiny detector on the server, as a catalog offers it. The store is empty again."""
    sources = {}
    for role, source in unbuilt.sources.items():
        content = (unbuilt.folder / source.file).read_bytes()
        server.files[source.file] = content
        sources[role] = Download(
            file=source.file,
            sha256=source.sha256,
            url=f"{server.address}/{source.file}",
            size=len(content),
        )
    for path in unbuilt.folder.iterdir():
        path.unlink()
    unbuilt.folder.rmdir()
    described: dict[str, Any] = {
        name: getattr(unbuilt, name) for name in Description.__dataclass_fields__
    }
    return {"tiny": Entry(**{**described, "sources": sources})}


def failure(store: Path, offered: Catalog, timeout: float = 5) -> str:
    """Pull; the result must be one line of explanation and an empty store."""
    with pytest.raises(SfdError) as raised:
        pull(store, "tiny", offered, timeout=timeout)
    assert list(store.iterdir()) == []
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_pulled_model_is_verified_and_intact(store: Path, offered: Catalog) -> None:
    pulled = pull(store, "tiny", offered)
    assert model.check(pulled).verification == "verified"
    assert [path.name for path in store.iterdir()] == ["tiny"]
    assert {path.name for path in pulled.folder.iterdir()} == {
        "model.toml",
        "deploy.prototxt",
        "weights.caffemodel",
        "model.onnx",
        "build.json",
    }
    assert pulled.origin == "made by a test"


def test_without_opencv_a_pulled_model_comes_with_a_warning(
    store: Path, offered: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    warnings: list[str] = []
    pull(store, "tiny", offered, warn=warnings.append)
    assert [text.partition(":")[0] for text in warnings] == ["model.onnx is unverified"]


def test_another_input_size_can_be_chosen(store: Path, offered: Catalog) -> None:
    pulled = pull(store, "tiny", offered, input_size=(32, 96), verify=False)
    assert (pulled.input.height, pulled.input.width) == (32, 96)
    model.check(pulled)


def test_a_published_detector_runs_at_640_pixels_once_it_is_pulled(
    store: Path, server: Server, shared: Path
) -> None:
    name = "sfd-320-mod11e"
    entry = catalog.load(ROOT / "model_store/catalog.toml")[name]
    for source in entry.sources.values():
        path = shared / "models/upstream" / name / source.file
        server.files[source.file] = path.read_bytes()
    sources = {
        role: replace(source, url=f"{server.address}/{source.file}")
        for role, source in entry.sources.items()
    }
    pulled = pull(store, name, {name: replace(entry, sources=sources)})
    assert (pulled.input.height, pulled.input.width) == (640, 640)
    assert model.check(pulled).verification == "verified"
    assert pulled.results[0].values == {"easy": 0.808, "medium": 0.768, "hard": 0.59}


@pytest.mark.parametrize("file", ["deploy.prototxt", "weights.caffemodel"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (short, "ended after"),
        (short_without_length, "ended after"),
        (long, "is longer than the"),
        (endless, "is longer than the"),
        (changed, "as the catalog states; the file was changed and is not used"),
        (missing, "the server answered 404 Not Found"),
        (broken, "this is no HTTP"),
        (away, "'http://example.com/weights' is not an https address"),
        (into_a_file, "file:///etc/hostname"),
    ],
)
def test_a_bad_download_is_one_line_and_leaves_nothing(
    store: Path, offered: Catalog, server: Server, file: str, answer: Answer, reason: str
) -> None:
    server.answers[file] = answer
    message = failure(store, offered)
    assert reason in message
    assert f"/{file}" in message


def test_a_reset_connection_is_one_line_and_leaves_nothing(
    store: Path, offered: Catalog, server: Server
) -> None:
    server.answers["weights.caffemodel"] = reset
    message = failure(store, offered)
    assert "Connection reset by peer" in message or "ended after" in message


def test_a_server_that_does_not_answer_times_out(
    store: Path, offered: Catalog, server: Server
) -> None:
    server.answers["weights.caffemodel"] = silent
    assert "the server did not answer in time" in failure(store, offered, timeout=0.2)


def test_a_redirect_to_an_allowed_address_is_followed(
    store: Path, offered: Catalog, server: Server
) -> None:
    server.answers["weights.caffemodel"] = around
    model.check(pull(store, "tiny", offered, verify=False))


def test_a_refused_connection_is_one_line_and_leaves_nothing(store: Path, offered: Catalog) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    entry = offered["tiny"]
    sources = {
        role: replace(source, url=f"http://127.0.0.1:{port}/x")
        for role, source in entry.sources.items()
    }
    message = failure(store, {"tiny": replace(entry, sources=sources)})
    assert "the connection was refused" in message


def test_a_full_disk_is_one_line_and_leaves_nothing(
    store: Path, offered: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("store.pull.write_description", full)
    assert "no space left on that disk" in failure(store, offered)


def test_a_file_that_does_not_convert_leaves_nothing(
    store: Path, offered: Catalog, server: Server
) -> None:
    content = b"no weights at all"
    server.files["weights.caffemodel"] = content
    entry = offered["tiny"]
    path = store.parent / "content"
    path.write_bytes(content)
    download = replace(entry.sources["weights"], size=len(content), sha256=sha256(path))
    sources = {**entry.sources, "weights": download}
    with pytest.raises(SfdError, match="weights"):
        pull(store, "tiny", {"tiny": replace(entry, sources=sources)})
    assert list(store.iterdir()) == []


def test_an_installed_model_is_not_touched(store: Path, offered: Catalog, server: Server) -> None:
    (store / "tiny").mkdir()
    (store / "tiny/mine").touch()
    with pytest.raises(ModelError, match="tiny exists already"):
        pull(store, "tiny", offered)
    assert [path.name for path in (store / "tiny").iterdir()] == ["mine"]
    assert not server.asked.is_set()


def test_of_two_simultaneous_pulls_one_wins_and_the_other_says_so(
    store: Path, offered: Catalog
) -> None:
    outcomes: list[str] = []

    def run() -> None:
        try:
            outcomes.append(pull(store, "tiny", offered, verify=False).name)
        except ModelError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "tiny" in outcomes
    assert any("exists already" in outcome for outcome in outcomes)
    assert [path.name for path in store.iterdir()] == ["tiny"]


def test_an_unknown_name_lists_the_known_ones(store: Path, offered: Catalog) -> None:
    with pytest.raises(ModelError, match="the catalog has no model 'huge'; it has tiny"):
        pull(store, "huge", offered)


@pytest.mark.parametrize(
    ("stop", "code", "message"),
    [(signal.SIGINT, 1, "sfd models: interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_an_interrupted_pull_leaves_nothing(
    store: Path,
    offered: Catalog,
    server: Server,
    tmp_path: Path,
    stop: signal.Signals,
    code: int,
    message: str,
) -> None:
    def hang(request: BaseHTTPRequestHandler, body: bytes) -> None:
        short(request, body)
        request.wfile.flush()
        time.sleep(5)

    server.answers["weights.caffemodel"] = hang
    process = subprocess.Popen(
        command("pull", "tiny", store=store, offered=offered, tmp_path=tmp_path),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 30
    while not list(store.glob(".tiny-*.tmp/tiny/weights.caffemodel")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(stop)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert stderr.decode() == message
    assert list(store.iterdir()) == []


def test_a_real_disk_without_space_is_one_line_and_leaves_nothing(
    offered: Catalog, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    # A file system of a few pages, in a mount namespace that ends with the command.
    mount = 'mount -t tmpfs -o size=24k none "$0" || exit 99\n'
    script = mount + '"$@"\ncode=$?\nls -A "$0"\nexit $code'
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*namespace, script, str(small), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    if not shutil.which("unshare") or run("true").returncode != 0:
        pytest.skip("this machine lets nobody mount a small file system")
    process = run(*command("pull", "tiny", store=small, offered=offered, tmp_path=tmp_path))
    assert process.returncode == 1
    assert "no space left on that disk" in process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stdout == ""  # what `ls` found


def command(*arguments: str, store: Path, offered: Catalog, tmp_path: Path) -> list[str]:
    """The command line of `sfd models` with the offered models as its catalog."""
    path = tmp_path / "offered.toml"
    path.write_text(
        tomli_w.dumps(
            TypeAdapter(dict[str, Entry]).dump_python(dict(offered), mode="json", exclude_none=True)
        ),
        "utf-8",
    )
    assert catalog.load(path) == offered
    options = ["--store", str(store), "--catalog", str(path)]
    return [sys.executable, "-m", "sfd", "models", *arguments, *options]
