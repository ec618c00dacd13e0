"""The image's health check follows /readyz of the port that the service listens on."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "docker" / "healthcheck.py"


@contextmanager
def _service(status: int) -> Iterator[int]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _run(port: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(CHECK)]
    environment = {**os.environ, "SFD_PORT": port}
    return subprocess.run(command, capture_output=True, env=environment, text=True)


def _check(port: int) -> int:
    return _run(str(port)).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_health_check_is_green_exactly_when_the_service_is_ready(status: int, code: int) -> None:
    with _service(status) as port:
        assert _check(port) == code


def test_health_check_is_red_when_nothing_listens() -> None:
    with _service(200) as port:
        pass
    assert _check(port) == 1


def test_an_empty_port_counts_as_not_set() -> None:
    """As for the service; it does not matter whether something listens on port 8000."""
    done = _run("")
    assert done.stdout.startswith("/readyz: ")
    assert not done.stderr
