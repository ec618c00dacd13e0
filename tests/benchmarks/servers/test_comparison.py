"""A short form of the comparison of servers, with real servers and without times as conditions."""

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from benchmarks.servers import comparison, environments, graphs, quiet, running, tables, usage
from benchmarks.servers.answers import OtherAnswer, check
from benchmarks.servers.comparison import CLIENTS
from benchmarks.servers.contenders import CONTENDERS, Contender, Graph, Kind
from benchmarks.servers.peers.work import Answer, Detector
from benchmarks.servers.ports import free
from benchmarks.servers.results import Results
from detection.agreement import PHOTOGRAPH
from detection.precision import Precision, lacking, processor_features
from sfd import cli
from sfd.errors import SfdError
from store.model import Model, load

SERVERS = [each for each in CONTENDERS.values() if each.kind is not Kind.LOOP]


@pytest.fixture(scope="module")
def model(built_model: Path) -> Model:
    return load(built_model.parent)


@pytest.fixture(scope="module")
def expected(model: Model) -> Answer:
    return Detector(graphs.setup(model, Graph.UNMERGED, 1, 0)).detect(PHOTOGRAPH.read_bytes())


@pytest.mark.parametrize("contender", SERVERS, ids=lambda each: each.name)
def test_every_server_finds_the_same_faces(
    contender: Contender, model: Model, expected: Answer, tmp_path: Path
) -> None:
    reason = environments.lacking(contender) or lacking(contender.precision, processor_features())
    if reason is not None:
        pytest.skip(f"a server of the benchmarks: {reason}")
    setup = graphs.setup(model, contender.graph or Graph.UNMERGED, 1, free(0))
    photograph = PHOTOGRAPH.read_bytes()
    with running.started(contender, setup, photograph, tmp_path) as server:
        status, body = server.post(photograph)
    assert status == 200
    assert check(expected, body, contender.precision) == 1
    with pytest.raises(OSError, match="refused"):
        server.post(photograph)


def test_cpu_and_memory_include_the_processes_that_decode(model: Model, tmp_path: Path) -> None:
    setup = graphs.setup(model, Graph.MERGED, 1, free(0))
    photograph = PHOTOGRAPH.read_bytes()
    with running.started(CONTENDERS["ours"], setup, photograph, tmp_path) as server:
        commands = [" ".join(each.cmdline()) for each in usage.processes(server.mark)]
        memory, seconds = usage.pss_bytes(server.mark), usage.cpu_s(server.mark)
    assert any("sfd serve" in command for command in commands)
    assert any("detection.decoding.forkserver" in command for command in commands)
    assert memory > 50e6
    assert seconds > 0.1
    assert not usage.processes(server.mark)


def main(arguments: list[str]) -> int:
    """Run `sfd bench servers`; its exit code."""
    return cli.main(["bench", "servers", *arguments])


@pytest.fixture
def wrk(missing: Callable[[str], NoReturn]) -> None:
    if shutil.which("wrk") is None:
        missing("wrk is not installed")


@pytest.mark.usefixtures("wrk", "built_model")
def test_a_short_run_fills_every_table_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A shorter overload is enough for this test.
    monkeypatch.setattr(comparison, "OVERLOAD_LASTS", comparison.OPEN_LOOP)
    out = tmp_path / "results.json"
    run = ["run", "--servers", "loop,ours", "--rounds", "1", "--seconds", "1", "--out", str(out)]
    run += ["--only", "saturation,latency,overload"]
    assert main(run) == 0
    results = Results.read(out)
    assert not [cell for cell in results.data["cells"] if "error" in cell]
    assert results.data["wrk"].startswith("wrk ")
    ours = [cell for cell in results.data["cells"] if cell["server"] == "ours"]
    assert [cell["cell"] for cell in ours] == [
        "start",
        *(f"saturation {clients}" for clients in CLIENTS),
        *("latency 30%", "latency 70%", "latency 100%", "overload"),
    ]
    # How many are answered in a second, and not refused, depends on what else the machine does.
    # On a busy machine a cell of a second may have none. Only the overload always has some.
    *others, overload = ours[1:]
    assert overload["requests"] > 0
    assert sum(cell["requests"] for cell in others) > 0
    assert sum(cell["answered"] for cell in ours[1:]) > 0
    assert "sfd serve" in tables.throughput(results)
    assert "sfd serve" in tables.latency(results)
    assert "sfd serve" in tables.overload(results)

    assert main(run) == 1
    assert "--resume" in capsys.readouterr().err
    kept = {**results.data, "cells": results.data["cells"][:-1]}
    out.write_text(json.dumps(kept), "utf-8")
    assert main([*run, "--resume"]) == 0
    again = Results.read(out).data["cells"]
    assert [cell for cell in again if cell["cell"] not in ("start", "overload")] == [
        cell for cell in results.data["cells"] if cell["cell"] not in ("start", "overload")
    ]
    overloads = [cell["server"] for cell in again if cell["cell"] == "overload"]
    assert sorted(overloads) == ["ours", "ours-short-wait"]


def test_a_server_that_does_not_start_shows_the_end_of_its_log(
    model: Model, tmp_path: Path
) -> None:
    broken = replace(CONTENDERS["ours"], environment={"SFD_PORT": "none"})
    setup = graphs.setup(model, Graph.MERGED, 1, free(0))
    with (
        pytest.raises(running.ServerFailed, match=r"exit code 1\. Its log ends with:\n.*SFD_PORT"),
        running.started(broken, setup, b"", tmp_path),
    ):
        pass


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SfdError, match="name another one with --port"):
            free(other.getsockname()[1])


def test_without_wrk_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    def wait(*_: object) -> None:
        pytest.fail("it waits for a quiet machine first")

    monkeypatch.setattr(quiet, "wait", wait)
    out = tmp_path / "results.json"
    assert main(["run", "--servers", "loop", "--only", "saturation", "--out", str(out)]) == 1
    assert "apt install wrk" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--servers", "nobody"], "no server nobody"),
        (["run", "--only", "everything"], "no part everything"),
        (["run", "--seconds", "0.5"], "--seconds"),
        (["run", "--photo", "nowhere.jpg"], "no file nowhere.jpg"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def answer(*faces: tuple[float, float, float, float, float]) -> Answer:
    """An answer with faces of x, y, width, height, score."""
    return {
        "faces": [
            {"box": {"x": x, "y": y, "width": width, "height": height}, "score": score}
            for x, y, width, height, score in faces
        ]
    }


TWO = answer((0, 0, 100, 100, 0.9), (300, 0, 50, 50, 0.8))


def test_equal_faces_in_another_order_agree() -> None:
    other = answer((300, 0, 50, 50, 0.8), (0, 0, 100, 100, 0.9))
    assert check(TWO, json.dumps(other).encode(), Precision.FLOAT32) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no JSON", "not an answer"),
        (b"{}", "not an answer"),
        (json.dumps(answer((0, 0, 100, 100, 0.9))).encode(), "1 faces instead of 2"),
        (
            json.dumps(answer((0, 0, 100, 100, 0.9), (300, 0, 40, 50, 0.8))).encode(),
            "an IoU of 0.800",
        ),
        (
            json.dumps(answer((0, 0, 100, 100, 0.9), (300, 0, 50, 50, 0.81))).encode(),
            "a score differs by 0.0100",
        ),
    ],
)
def test_other_faces_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(OtherAnswer, match=message):
        check(TWO, body, Precision.FLOAT32)
