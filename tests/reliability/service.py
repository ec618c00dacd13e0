"""A real `python -m service` on a fixed port, with a stderr of any kind, that can be ended."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import httpx

BREAKING = """
import detection.session as session
run = session.Session.run
def breaking(self, images):
    if any((image == (255, 0, 255)).all() for image in images):
        raise RuntimeError("this picture breaks the inference")
    return run(self, images)
session.Session.run = breaking
"""
"""Python to run before the service: inference fails on a picture that is all magenta."""

SERVE = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"


class Process:
    """A service in a process of its own."""

    def __init__(
        self,
        port: int,
        environment: Mapping[str, str],
        stderr: int | IO[str],
        before: str = BREAKING,
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SFD_")}
        settings = {"SFD_PORT": str(port), "SFD_LOG_FORMAT": "json", "SFD_PROVIDER": "cpu"}
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{before}\n{SERVE}"],
            env=clean | settings | dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )
        if self.process.stderr is not None:
            # One page, which a few lines of the log fill.
            fcntl.fcntl(self.process.stderr, fcntl.F_SETPIPE_SZ, 4096)

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def wait_until_ready(self, seconds: float = 120) -> None:
        """Wait for /readyz; AssertionError if it ends or takes too long."""
        give_up = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while True:
                assert self.is_running, f"it ended with {self.process.returncode}"
                assert time.monotonic() < give_up, "it is not ready"
                try:
                    if client.get("/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics by name and labels."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Wait until only the scrape is in flight, and nothing is queued."""
        give_up = time.monotonic() + seconds
        while True:
            found = self.metrics()
            if (found["sfd_in_flight"], found["sfd_queue_depth"]) == (1, 0):
                return
            assert time.monotonic() < give_up, "it does not come to rest"
            time.sleep(0.1)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, seconds: float) -> int | None:
        """Its exit code after SIGTERM; None if it had to be killed."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.is_running:
            self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


@contextmanager
def running(
    folder: Path, environment: Mapping[str, str], before: str = BREAKING
) -> Iterator[tuple[Process, Path]]:
    """A service that is ready, and its log; killed at the end."""
    log = folder / "service.log"
    with log.open("w") as stderr:
        process = Process(free_port(), environment, stderr, before)
    try:
        process.wait_until_ready()
        yield process, log
    except AssertionError as error:
        error.add_note(log.read_text()[-4000:])
        raise
    finally:
        process.kill()


def free_port() -> int:
    """A port that no program uses now."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port
