"""`sfd detect --bulk --ray` on a Ray of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sfd.cli import main
from tests.clusters import FRUGAL, SMALL, Cluster, run_cluster
from tests.reliability.processes import descendants

Rows = list[dict[str, Any]]
Command = Callable[..., "subprocess.Popen[str]"]
RowsOf = Callable[[Path], Rows]
OnRay = Callable[..., "subprocess.Popen[str]"]
PATIENCE_S = 500


@pytest.fixture(scope="module")
def settings(store: Path) -> dict[str, str]:
    """Those of the small model, for this process, the jobs and the nodes."""
    return SMALL | {"SFD_MODEL_STORE": str(store)}


@pytest.fixture(scope="module")
def cluster(has_ray: None, settings: dict[str, str]) -> Iterator[Cluster]:
    """A head node without CPUs and a node with two."""
    with run_cluster(settings, dashboard=False) as started:
        started.add_node(2)
        yield started


@pytest.fixture
def on_ray(
    cluster: Cluster, command: Command, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[OnRay]:
    """Starts `sfd detect --ray` on the cluster; it ends with the test."""
    jobs: list[subprocess.Popen[str]] = []
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def start(*arguments: object) -> "subprocess.Popen[str]":
        environment = FRUGAL | {"RAY_ADDRESS": cluster.address}
        jobs.append(command(*arguments, "--ray", **environment))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.poll() is None:
            job.kill()
            job.communicate()


def finish(job: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a job's end; its exit code and what it said."""
    _, said = job.communicate(timeout=PATIENCE_S)
    return job.returncode, said


def wait_for_parts(job: "subprocess.Popen[str]", out: Path, count: int) -> None:
    """Wait until so many shards are done."""
    give_up = time.monotonic() + PATIENCE_S
    while len(list(out.glob("results/part-*"))) < count:
        assert job.poll() is None, finish(job)[1]
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_cluster_gives_the_rows_of_one_process(
    on_ray: OnRay, tmp_path: Path, rows_of: RowsOf, many_pictures: Callable[[Path, int], None]
) -> None:
    many_pictures(tmp_path / "in", 120)
    options = ("--bulk", tmp_path / "in", "--shard-size", 10)
    assert main(["detect", *map(str, options), "--out", str(tmp_path / "here")]) == 0
    code, said = finish(on_ray(*options, "--out", tmp_path / "there", "--ray-cpus", 1))
    assert code == 0, said
    assert "120 pictures done, 2 failed (2 invalid-image)" in said
    assert rows_of(tmp_path / "there") == rows_of(tmp_path / "here")
    names = {path.name for path in (tmp_path / "here/results").iterdir()}
    assert {path.name for path in (tmp_path / "there/results").iterdir()} == names


def test_a_cluster_goes_on_where_a_process_was_stopped(
    on_ray: OnRay, tmp_path: Path, rows_of: RowsOf, many_pictures: Callable[[Path, int], None]
) -> None:
    many_pictures(tmp_path / "in", 40)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 10)
    assert main(["detect", *map(str, options)]) == 0
    parts = sorted((tmp_path / "out/results").iterdir())
    before, times = rows_of(tmp_path / "out"), [part.stat().st_mtime_ns for part in parts]
    parts[2].unlink()
    code, said = finish(on_ray(*options))
    assert code == 0, said
    assert "40 pictures, 30 of them done before" in said
    assert rows_of(tmp_path / "out") == before
    again = [part.stat().st_mtime_ns for part in parts]
    assert [new == old for new, old in zip(again, times, strict=True)] == [True, True, False, True]


def wait_for_actors(job: "subprocess.Popen[str]", cluster: Cluster) -> tuple[str, list[int]]:
    """Wait until actors run shards; the first node that has one, and its processes that do."""
    while True:
        for node, raylet in cluster.raylets.items():
            if found := [each for each in descendants(raylet) if is_at_work(each)]:
                return node, found
        assert job.poll() is None, finish(job)[1]
        time.sleep(0.05)


def is_at_work(pid: int) -> bool:
    """Whether a process is an actor of Ray Data that runs a shard: Ray's name says its method."""
    with suppress(OSError):
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
        return name.startswith(b"ray::MapWorker") and b".submit" in name
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_actor_is_replaced_and_each_picture_is_there_once(
    on_ray: OnRay,
    cluster: Cluster,
    tmp_path: Path,
    rows_of: RowsOf,
    many_pictures: Callable[[Path, int], None],
) -> None:
    many_pictures(tmp_path / "in", 400)
    job = on_ray("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 5)
    wait_for_parts(job, tmp_path / "out", 1)
    _, actors = wait_for_actors(job, cluster)
    for actor in actors:
        os.kill(actor, signal.SIGKILL)
    assert len(list(tmp_path.glob("out/results/part-*"))) < 80
    code, said = finish(job)
    assert code == 0, said
    assert "400 pictures done, 8 failed" in said
    paths = [row["path"] for row in rows_of(tmp_path / "out")]
    assert len(paths) == len(set(paths)) == 400


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_node_that_dies_loses_no_picture(
    on_ray: OnRay,
    cluster: Cluster,
    tmp_path: Path,
    rows_of: RowsOf,
    many_pictures: Callable[[Path, int], None],
) -> None:
    many_pictures(tmp_path / "in", 400)
    cluster.add_node(1)
    job = on_ray("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 20)
    # The first one that works, which may be either: Ray starts the other's actor any time later.
    node, _ = wait_for_actors(job, cluster)
    cluster.kill_node(node)
    assert len(list(tmp_path.glob("out/results/part-*"))) < 20
    code, said = finish(job)
    assert code == 0, said
    assert "400 pictures done, 8 failed" in said
    paths = [row["path"] for row in rows_of(tmp_path / "out")]
    assert len(paths) == len(set(paths)) == 400


def test_an_error_of_an_actor_ends_the_job_in_one_line(
    on_ray: OnRay, tmp_path: Path, many_pictures: Callable[[Path, int], None]
) -> None:
    many_pictures(tmp_path / "in", 20)
    options = ("--bulk", tmp_path / "in", "--out", tmp_path / "out", "--shard-size", 10)
    assert main(["detect", *map(str, options)]) == 0
    for part in (tmp_path / "out/results").iterdir():
        part.unlink()
    (tmp_path / "out/results").rmdir()
    # Nothing can be written there any more.
    (tmp_path / "out/results").symlink_to(tmp_path / "in/000000.jpg")
    code, said = finish(on_ray(*options))
    assert code == 1, said
    assert "sfd detect: can't write results/part-0000000" in said
    assert "Traceback" not in said


def test_an_address_where_no_cluster_is_ends_the_job_in_one_line(
    has_ray: None,
    tmp_path: Path,
    settings: dict[str, str],
    many_pictures: Callable[[Path, int], None],
    command: Command,
) -> None:
    many_pictures(tmp_path / "in", 20)
    job = command(
        "--bulk", tmp_path / "in", "--out", tmp_path / "out", "--ray", "127.0.0.1:1", **settings
    )
    code, said = finish(job)
    assert code == 1, said
    assert "sfd detect: --ray 127.0.0.1:1: no Ray cluster is there: Connection refused" in said
    assert "Traceback" not in said
