"""`sfd detect --bulk --ray` on a Ray of this machine."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sfd.cli import main

Rows = list[dict[str, Any]]
Command = Callable[..., "subprocess.Popen[str]"]
RowsOf = Callable[[Path], Rows]

# `sfd` cannot say how many CPUs a new Ray has, so this starts it first.
PROGRAM = """
import sys
import ray
from sfd.cli import main
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
sys.exit(main(sys.argv[1:]))
"""


# A cluster of two nodes on this machine. When a shard is done, the second node dies.
TWO_NODES = """
import glob, os, subprocess, sys, time
from ray.cluster_utils import Cluster
cluster = Cluster(
    initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
)
other = cluster.add_node(num_cpus=1)
command = [sys.executable, "-m", "sfd", *sys.argv[2:]]
job = subprocess.Popen(command, env=os.environ | {"RAY_ADDRESS": cluster.address})
try:
    while job.poll() is None and len(glob.glob(sys.argv[1] + "/results/part-*")) < 5:
        time.sleep(0.05)
    print("done before the node died:", len(glob.glob(sys.argv[1] + "/results/part-*")))
    cluster.remove_node(other, allow_graceful=False)
    sys.exit(job.wait())
finally:
    job.kill()
    cluster.shutdown()
"""


@pytest.fixture(scope="module", autouse=True)
def _needs_ray(missing: Callable[[str], NoReturn]) -> None:
    if find_spec("ray") is None:
        missing("Ray is not installed (pip install 'sfd[ray]')")


@pytest.fixture
def on_ray(monkeypatch: pytest.MonkeyPatch, store: Path) -> Callable[..., "tuple[int, str]"]:
    """Runs `sfd detect` on a Ray of two CPUs; returns its exit code and what it said."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "cells")

    def run(*arguments: object) -> "tuple[int, str]":
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "detect", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=500,
        )
        return done.returncode, done.stderr

    return run


def test_a_cluster_gives_the_rows_of_one_process(
    on_ray: Callable[..., "tuple[int, str]"], tmp_path: Path, rows_of: RowsOf,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    many_pictures(tmp_path / "in", 120)
    options = ("--bulk", tmp_path / "in", "--shard-size", 10)
    assert main(["detect", *map(str, options), "--out", str(tmp_path / "here")]) == 0
    code, said = on_ray(*options, "--out", tmp_path / "there", "--ray", "--ray-cpus", 1)
    assert code == 0, said
    assert "120 pictures done, 2 failed (2 invalid-image)" in said
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    names = {path.name for path in (tmp_path / "here/results").iterdir()}
    assert {path.name for path in (tmp_path / "there/results").iterdir()} == names


def test_a_cluster_goes_on_where_a_process_was_stopped(
    on_ray: Callable[..., "tuple[int, str]"], tmp_path: Path, rows_of: RowsOf,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    many_pictures(tmp_path / "in", 40)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 10)
    assert main(["detect", *map(str, options)]) == 0
    parts = sorted((tmp_path / "out/results").iterdir())
    before, times = rows_of(tmp_path / "out"), [part.stat().st_mtime_ns for part in parts]
    parts[2].unlink()
    code, said = on_ray(*options, "--ray")
    assert code == 0, said
    assert "40 pictures, 30 of them done before" in said
    assert rows_of(tmp_path / "out") == before
    again = [part.stat().st_mtime_ns for part in parts]
    assert [new == old for new, old in zip(again, times, strict=True)] == [True, True, False, True]


def actors_of(job: int) -> list[int]:
    """The processes of Ray's actors that a process has started, by way of others."""
    parents, actors = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                actors.append(int(folder.name))
        except OSError:
            continue

    def is_ours(process: int) -> bool:
        return process == job or (process in parents and is_ours(parents[process]))

    return [process for process in actors if is_ours(process)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_actor_is_replaced_and_each_picture_is_there_once(
    tmp_path: Path, rows_of: RowsOf, many_pictures: Callable[[Path, int], None], store: Path
) -> None:
    many_pictures(tmp_path / "in", 2000)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 20, "--ray")
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells"}
    job = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "detect", *map(str, options)],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + 300
    while not list(tmp_path.glob("out/results/part-*")):
        assert job.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    killed = actors_of(job.pid)
    for actor in killed:
        os.kill(actor, signal.SIGKILL)
    assert killed
    assert len(list(tmp_path.glob("out/results/part-*"))) < 100
    _, said = job.communicate(timeout=500)
    assert job.returncode == 0, said
    assert "2000 pictures done, 40 failed" in said
    assert len({row["path"] for row in rows_of(tmp_path / "out")}) == 2000
    assert len(rows_of(tmp_path / "out")) == 2000


def test_a_node_that_dies_loses_no_picture(
    tmp_path: Path, rows_of: RowsOf, many_pictures: Callable[[Path, int], None], store: Path
) -> None:
    many_pictures(tmp_path / "in", 3000)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 20, "--ray")
    done = subprocess.run(
        [sys.executable, "-c", TWO_NODES, str(tmp_path / "out"), "detect", *map(str, options)],
        env=os.environ | {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "3000 pictures done, 60 failed" in done.stderr
    before = re.search(r"before the node died: (\d+)", done.stdout)
    assert before
    assert 5 <= int(before[1]) < 150
    paths = [row["path"] for row in rows_of(tmp_path / "out")]
    assert len(paths) == len(set(paths)) == 3000


def test_an_error_of_an_actor_ends_the_job_in_one_line(
    on_ray: Callable[..., "tuple[int, str]"], tmp_path: Path,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    many_pictures(tmp_path / "in", 20)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 10)
    assert main(["detect", *map(str, options)]) == 0
    for part in (tmp_path / "out/results").iterdir():
        part.unlink()
    (tmp_path / "out/results").rmdir()
    # Nothing can be written there any more.
    (tmp_path / "out/results").symlink_to(tmp_path / "in/000000.jpg")
    code, said = on_ray(*options, "--ray")
    assert code == 1, said
    assert "sfd detect: can't write results/part-0000000" in said
    assert "Traceback" not in said


def test_an_address_where_no_cluster_is_ends_the_job_in_one_line(
    tmp_path: Path, store: Path, many_pictures: Callable[[Path, int], None], command: Command
) -> None:
    many_pictures(tmp_path / "in", 20)
    job = command(
        "--bulk", tmp_path / "in", "--out", tmp_path / "out", "--ray", "127.0.0.1:1",
        SFD_MODEL_STORE=str(store), SFD_MODELS="cells",
    )  # fmt: skip
    _, said = job.communicate(timeout=500)
    assert job.returncode == 1, said
    assert "sfd detect: --ray 127.0.0.1:1: no Ray cluster is there: Connection refused" in said
    assert "Traceback" not in said
