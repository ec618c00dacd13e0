"""Starts a server, waits until it answers, and ends it with all its processes."""

import http.client
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import environments, usage
from benchmarks.servers.contenders import Contender
from benchmarks.servers.peers import setup as setups
from benchmarks.servers.peers.setup import Setup
from sfd import telemetry
from sfd.distribution import HOME
from sfd.errors import SfdError

START_S = 120.0
STOP_S = 15.0
HEADERS = {"Content-Type": "application/octet-stream"}


class ServerFailed(SfdError):
    """A server does not start, or ends. The message has the end of its log."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    contender: Contender
    port: int
    mark: str
    ready_s: float
    """Seconds from the start of its process to the first answer with faces."""

    @property
    def url(self) -> str:
        """Where it takes pictures."""
        return f"http://127.0.0.1:{self.port}{self.contender.path}"

    def post(self, data: bytes, timeout: float = 60.0) -> tuple[int, bytes]:
        """The status and body of an answer. Raises OSError or HTTPException."""
        return post(self.port, self.contender.path, data, timeout)


def post(port: int, path: str, data: bytes, timeout: float) -> tuple[int, bytes]:
    """Post a file to a server of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, data, HEADERS)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def environment(contender: Contender, mark: str, setup: Path, port: int = 0) -> dict[str, str]:
    """The variables of a contender's process: none of the caller's settings."""
    own = {name: value.format(port=port) for name, value in contender.environment.items()}
    # Modules that are not compiled yet would be compiled again at each start.
    unwanted = ("SFD_", "PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {
        **clean,
        # As in ours, so that no server measures the telemetry of onnxruntime.
        telemetry.VARIABLE: "1",
        **own,
        "PYTHONPATH": str(HOME),
        "PYTHONUNBUFFERED": "1",
        usage.MARK: mark,
        setups.ENVIRONMENT: str(setup),
    }


@contextmanager
def started(
    contender: Contender, setup: Setup, photograph: bytes, folder: Path
) -> Iterator[Server]:
    """A server on `setup.port` that has answered `photograph`; its log is in `folder`.

    Raises ServerFailed if it does not answer.
    """
    interpreter = environments.python(contender)
    mark = uuid.uuid4().hex
    file, log = folder / f"{contender.name}.json", folder / f"{contender.name}.log"
    setup.write(file)
    arguments = [argument.format(port=setup.port) for argument in contender.program]
    begin = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [interpreter, *arguments],
            env=environment(contender, mark, file, setup.port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C must end the comparison first, so that it can end the server.
            start_new_session=True,
        )
    try:
        _wait(process, contender, setup.port, photograph, log)
        yield Server(contender, setup.port, mark, time.perf_counter() - begin)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        usage.kill(mark)
        process.wait()


def _wait(
    process: "subprocess.Popen[bytes]",
    contender: Contender,
    port: int,
    photograph: bytes,
    log: Path,
) -> None:
    deadline = time.monotonic() + START_S
    last = "it does not listen"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(
                f"{contender.title} ended with exit code {process.returncode}{_tail(log)}"
            )
        try:
            status, body = post(port, contender.path, photograph, 10.0)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        else:
            if status == 200:
                return
            last = f"HTTP {status} {body[:200]!r}"
        time.sleep(0.02)
    raise ServerFailed(
        f"{contender.title} gives no answer within {START_S:.0f} s (last: {last}){_tail(log)}"
    )


def _tail(log: Path, lines: int = 20) -> str:
    """The end of a log, for an error message."""
    text = log.read_text("utf-8", errors="replace").splitlines()[-lines:]
    return ". Its log ends with:\n" + "\n".join(text) if text else "; its log is empty"
