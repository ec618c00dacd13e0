"""Log lines that nobody reads stop nobody."""

import fcntl
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.log_writer import LogWriter
from tests.cells import NAME
from tests.servers import FIXED, StartServer


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, "", 0, text, arguments, None)


Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe's ends for reading and writing. It holds 64 KiB."""
    read, write = os.pipe()
    yield read, write
    # The thread of a writer may be waiting for room: read what it has until it is done.
    os.set_blocking(read, False)
    os.close(write)
    os.close(read)


def read_until(descriptor: int, ending: bytes) -> bytes:
    found = b""
    while not found.endswith(ending):
        found += os.read(descriptor, 65536)
    return found


def test_lines_arrive_in_their_order(pipe: Pipe) -> None:
    read, write = pipe
    writer = LogWriter(write)
    for number in range(100):
        writer.handle(record("line %d", number))
    expected = "".join(f"line {number}\n" for number in range(100)).encode()
    assert read_until(read, b"line 99\n") == expected
    assert writer.dropped == 0


def test_lines_without_a_reader_are_dropped_counted_and_reported(pipe: Pipe) -> None:
    read, write = pipe
    counted = []
    writer = LogWriter(write, most_bytes=10_000)
    writer.on_drop = lambda: counted.append(1)
    for _ in range(1000):
        writer.handle(record("x" * 999))
    # The pipe takes 65, and the writer keeps ten.
    assert 900 < writer.dropped < 1000
    assert len(counted) == writer.dropped
    # One report, or two if the writer's thread began late.
    found, reported = b"", 0
    while reported < writer.dropped:
        found += os.read(read, 65536)
        reports = re.findall(rb"^(\d+) log lines were dropped.*faster than read\n", found, re.M)
        reported = sum(map(int, reports))
    assert reported == writer.dropped
    writer.handle(record("the next"))
    assert read_until(read, b"the next\n")


def test_flush_waits_for_the_lines_but_not_for_ever(pipe: Pipe) -> None:
    read, write = pipe
    writer = LogWriter(write)
    writer.handle(record("short"))
    writer.flush(30)
    assert os.read(read, 100) == b"short\n"
    writer.handle(record("x" * 100_000))
    writer.flush(0.1)
    found = read_until(read, b"x\n")
    assert len(found) == 100_001
    writer.flush(30)


def test_a_reader_that_has_gone_ends_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = LogWriter(write)
    for _ in range(10):
        writer.handle(record("x"))
    writer.flush(30)
    assert writer.dropped == 10
    os.close(write)


def test_a_record_that_cannot_be_formatted_is_dropped(pipe: Pipe) -> None:
    writer = LogWriter(pipe[1])
    writer.handle(record("%d", "no number"))
    assert writer.dropped == 1


def test_a_pipe_that_is_not_blocking_gets_whole_lines(pipe: Pipe) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    writer = LogWriter(write)
    writer.handle(record("x" * 500_000))
    assert len(read_until(read, b"\n")) == 500_001


@pytest.mark.skipif(sys.platform != "linux", reason="sets the size of a pipe, as only Linux can")
def test_a_service_whose_log_nobody_reads_answers_and_ends(
    store: Path, bright_cells: Callable[..., bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    read, write = os.pipe()
    # Full from the start.
    size = fcntl.fcntl(write, fcntl.F_GETPIPE_SZ)
    os.set_blocking(write, False)
    assert os.write(write, b"x" * size) == size
    os.set_blocking(write, True)
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": NAME, "SFD_PORT": str(port)} | FIXED
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SFD_")}
    limit = "import service.log_writer as w; w.LogWriter.__init__.__defaults__ = (20_000,)"
    serve = "import runpy; runpy.run_module('service', run_name='__main__', alter_sys=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{limit}\n{serve}"], env=clean | environment, stderr=write
    )
    os.close(write)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_ready(client, process)
            for _ in range(400):
                assert client.post("/detect", content=b"no image").status_code == 415
            assert client.post("/detect", content=bright_cells(1)).status_code == 200
            assert client.get("/livez").status_code == 200
            metrics = client.get("/metrics").text
        dropped = float(metrics.partition("\nsfd_log_lines_dropped_total ")[2].split()[0])
        assert dropped > 100
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


ODD = """
import threading, service.runtime as r
load = r.load
def warn(settings, **named):
    import warnings
    warnings.warn("odd")
    thread = threading.Thread(target=lambda: 1 / 0, name="extra")
    thread.start(), thread.join()
    return load(settings, **named)
r.load = warn
"""


@pytest.fixture(scope="module")
def messages(start_for_module: StartServer) -> list[str]:
    """The log of a service with a warning and a failed thread, from its start to its end."""
    with start_for_module(ODD) as server:
        server.process.terminate()
        assert server.process.wait(30) == 0
        return [json.loads(line)["message"] for line in server.log.read_text().splitlines()]


def test_the_lines_of_the_end_are_written(messages: list[str]) -> None:
    assert messages[-1].startswith("Finished server process")


def test_warnings_and_failed_threads_are_lines_of_the_log(messages: list[str]) -> None:
    assert any("UserWarning: odd" in message for message in messages)
    assert "the thread extra failed" in messages


def test_threads_log_at_the_same_time(pipe: Pipe) -> None:
    read, write = pipe
    writer = LogWriter(write)
    threads = [
        threading.Thread(target=lambda n=n: [writer.handle(record("%d", n)) for _ in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush(30)
    found = os.read(read, 65536).split()
    assert sorted(found) == sorted(str(n).encode() for n in range(8) for _ in range(50))
