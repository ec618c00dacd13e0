"""Downloads of one file; tests/store/test_pull.py has the servers that misbehave."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from store.catalog import Download
from store.download import fetch
from store.model import ModelError

CONTENT = bytes(range(256)) * 1024
"""Several chunks."""


@dataclass
class Mirror:
    """A server of CONTENT, and the user agents of its requests."""

    url: str
    agents: list[str] = field(default_factory=list)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.agents.append(self.headers["User-Agent"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        found = Mirror(f"http://127.0.0.1:{server.server_port}/weights")
        yield found
        server.shutdown()
        thread.join()


def promised(url: str, content: bytes = CONTENT) -> Download:
    return Download(
        file="weights", sha256=hashlib.sha256(content).hexdigest(), url=url, size=len(content)
    )


def test_a_file_arrives_byte_for_byte_and_the_server_learns_who_asks(
    mirror: Mirror, tmp_path: Path
) -> None:
    fetch(promised(mirror.url), tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT
    assert mirror.agents == ["sfd"]


def test_a_file_with_another_hash_is_removed_and_both_hashes_are_named(
    mirror: Mirror, tmp_path: Path
) -> None:
    wanted = promised(mirror.url, bytes(len(CONTENT)))
    with pytest.raises(ModelError) as failure:
        fetch(wanted, tmp_path / "weights")
    assert wanted.sha256 in str(failure.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_neither_overwritten_nor_removed(
    mirror: Mirror, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        fetch(promised(mirror.url), path)
    assert path.read_text() == "mine"


def test_a_mirror_on_this_machine_is_asked_without_the_proxy(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    fetch(promised(mirror.url), tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_a_host_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as failure:
        fetch(promised("https://no-such-host.invalid/weights"), tmp_path / "weights", timeout=20)
    assert str(failure.value).startswith("https://no-such-host.invalid/weights: ")
    assert "\n" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []
