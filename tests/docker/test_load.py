"""The script that posts one picture again and again: how it counts, and what it sends."""

import json
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "load.py"
Cells = Callable[..., bytes]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The functions of the script by name."""
    return runpy.run_path(str(SCRIPT), run_name="load")


@pytest.fixture
def photo(tmp_path: Path, bright_cells: Cells) -> Path:
    (tmp_path / "photo.png").write_bytes(bright_cells(1))
    return tmp_path / "photo.png"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def outcome(status: int, seconds: float, error: str = "") -> dict[str, object]:
    return {"id": "x", "connected": True, "status": status, "error": error, "seconds": seconds}


def test_only_answers_of_200_count_for_throughput_and_percentiles(script: dict[str, Any]) -> None:
    good = [outcome(200, n / 1000) for n in range(1, 101)]
    bad = [outcome(503, 9), outcome(503, 9), outcome(0, 9, "refused")]
    first, *rest = script["summary"](good + bad, 20.0).splitlines()
    assert first.split() == ["100", "x", "200"]
    assert [line.split() for line in rest[:2]] == [["2", "x", "503"], ["1", "x", "refused"]]
    assert rest[2] == "5.0 images/s, p50 51 ms, p90 91 ms, p99 100 ms"


def test_without_an_answer_of_200_there_are_only_counts(script: dict[str, Any]) -> None:
    assert script["summary"]([outcome(503, 1)], 20.0).split() == ["1", "x", "503"]
    assert script["summary"]([], 20.0) == ""


def test_a_refused_connection_is_an_outcome_with_its_error(script: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = script["post"]("127.0.0.1", port, "/detect", b"x", "id-1", None)
    assert (found["id"], found["connected"], found["status"]) == ("id-1", False, 0)
    assert "ConnectionRefusedError" in found["error"]


def test_each_request_has_an_id_and_the_key(
    start_server: Any, script: dict[str, Any], photo: Path
) -> None:
    with start_server(API_KEYS="a-good-long-key") as server:
        done = run(
            server.url, photo, "--clients", 2, "--seconds", 0.5, "--each", "--model", "cells",
            "--api-key", "a-good-long-key",
        )  # fmt: skip
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        assert {each["status"] for each in outcomes} == {200}
        assert {each["id"].rpartition("-")[0] for each in outcomes} == {"load-0", "load-1"}
        assert len({each["id"] for each in outcomes}) == len(outcomes)
        assert all(f'"{each["id"]}"' in server.log.read_text() for each in outcomes)
        assert done.stderr == "answered\n"
        without = run(server.url, photo, "--clients", 1, "--seconds", 0.2)
        assert re.fullmatch(r"\s*\d+ x 401\n", without.stdout)


def test_without_a_time_it_ends_with_standard_input(start_server: Any, photo: Path) -> None:
    with (
        start_server() as server,
        subprocess.Popen(
            [sys.executable, str(SCRIPT), server.url, str(photo), "--clients", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        assert running.stderr is not None
        assert running.stderr.readline() == "answered\n"
        assert running.poll() is None
        shown, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert re.search(r"\d+ x 200\n", shown)
    assert "images/s" in shown
