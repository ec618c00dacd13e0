"""A job that is killed at random moments, and started again, has each picture once."""

import random
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detection.bulk.plan import Plan, read

Rows = list[dict[str, Any]]
Command = Callable[..., "subprocess.Popen[str]"]
RowsOf = Callable[[Path], Rows]

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Trial:
    """Kills a job again and again, and checks its folder each time.

    When the job ends before the kill, its results are compared and another folder is begun, so that
    every kill hits a running job.
    """

    start: Callable[[Path], "subprocess.Popen[str]"]
    rows_of: RowsOf
    folder: Path
    expected: Rows
    kills: int = 0
    killed_while_writing: int = 0
    complete: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    """The inode of each finished shard's file: a file that is written again has another."""

    def run(self, kills: int, longest: float, seed: int) -> None:
        moments = random.Random(seed)
        while self.kills < kills:
            out = self.folder / f"out-{self.complete}"
            process = self.start(out)
            try:
                process.communicate(timeout=moments.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.kills += 1
                self.look(out)
            else:
                assert process.returncode == 0
                self.finish(out)
        out = self.folder / f"out-{self.complete}"
        process = self.start(out)
        _, said = process.communicate()
        assert process.returncode == 0, said
        self.finish(out)

    def look(self, out: Path) -> None:
        """Every finished shard is whole, and none was written again."""
        if not (out / "plan.json").exists():
            return
        plan = read((out / "plan.json").read_bytes(), str(out))
        self.killed_while_writing += any(out.rglob("*.tmp"))
        if (out / "results").exists():
            self.check_parts(out, plan)

    def check_parts(self, out: Path, plan: Plan) -> None:
        files = sorted((out / "results").glob("part-*"))
        now = {file.name: file.stat().st_ino for file in files}
        assert now.items() >= self.parts.items()
        self.parts = now
        shards = [int(file.name.split("-")[1]) for file in files]
        if files:
            assert len(self.rows_of(out)) == sum(map(plan.pictures_in, shards))

    def finish(self, out: Path) -> None:
        """Each picture has one row, the same as in a job that was never stopped."""
        self.check_parts(out, read((out / "plan.json").read_bytes(), str(out)))
        assert self.rows_of(out) == self.expected
        names = {path.name for path in out.iterdir()}
        assert names == {"plan.json", "results", *(path.name for path in out.glob("listing-*"))}
        assert not any(out.rglob("*.tmp"))
        self.complete += 1
        self.parts = {}


def trial(
    tmp_path: Path, command: Command, rows_of: RowsOf, pictures: Path, count: int, kills: int,
    options: tuple[object, ...], environment: Mapping[str, str],
) -> Trial:  # fmt: skip
    """Run a job whole, and then kill the same job that often."""

    def start(out: Path) -> "subprocess.Popen[str]":
        return command("--bulk", pictures, "--out", out, *options, **environment)

    whole = tmp_path / "whole"
    seconds = []
    for expected in (f"{count} pictures done", f"{count} of them done before"):
        began = time.monotonic()
        process = start(whole)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert expected in said
        seconds.append(time.monotonic() - began)
    expected_rows = rows_of(whole)
    assert len({row["path"] for row in expected_rows}) == len(expected_rows) == count
    made = Trial(start, rows_of, tmp_path, expected_rows)
    # On average the kills together come about as far as one whole run.
    made.run(kills, seconds[1] + 2 * seconds[0] / kills, seed=kills)
    return made


def test_a_job_killed_at_random_moments_ends_with_each_picture_once(
    tmp_path: Path, command: Command, rows_of: RowsOf, built_model: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    photograph = (ROOT / "service/static/sample.jpg").read_bytes()
    for number in range(30):
        broken = number % 10 == 9
        # Bytes after the end of a JPEG are ignored.
        content = photograph[:5000] if broken else photograph + bytes([number])
        (pictures / f"{number}.jpg").write_bytes(content)
    made = trial(
        tmp_path, command, rows_of, pictures, 30, 3, ("--shard-size", 3),
        {"SFD_MODELS": built_model.parent.name, "SFD_PROVIDER": "cpu", "SFD_MAX_BATCH": "1",
         "SFD_WORKERS": "1", "SFD_THREADS": "1"},
    )  # fmt: skip
    assert made.kills == 3
    assert sum(row["error"] is not None for row in made.expected) == 3
    assert all(len(row["faces"]) == 1 for row in made.expected if row["error"] is None)


@pytest.mark.soak
def test_a_job_of_5000_pictures_killed_20_times_ends_with_each_picture_once(
    tmp_path: Path, command: Command, rows_of: RowsOf, tiny_store: Path,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    pictures = tmp_path / "pictures"
    many_pictures(pictures, 5000)
    made = trial(
        tmp_path, command, rows_of, pictures, 5000, 20,
        ("--shard-size", 50, "--min-score", "0.3", "--max-faces", "5"),
        {"SFD_MODEL_STORE": str(tiny_store), "SFD_MODELS": "tiny", "SFD_PROVIDER": "cpu",
         "SFD_MAX_BATCH": "1", "SFD_WORKERS": "1", "SFD_THREADS": "1"},
    )  # fmt: skip
    assert made.kills == 20
    assert sum(row["error"] is not None for row in made.expected) == 100
    assert any(row["faces"] for row in made.expected)
    print(
        f"{made.kills} kills, {made.killed_while_writing} of them in the middle of a write; "
        f"{made.complete} complete jobs of 5000 rows, each equal to the one never stopped"
    )


def test_two_jobs_in_one_folder_at_once_end_with_each_picture_once(
    tmp_path: Path, command: Command, rows_of: RowsOf, store: Path,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    many_pictures(tmp_path / "pictures", 200)
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    jobs = [
        command("--bulk", tmp_path / "pictures", "--out", tmp_path / "out", "--shard-size", 10,
                **environment)
        for _ in range(3)
    ]  # fmt: skip
    for job in jobs:
        _, said = job.communicate()
        assert job.returncode == 0, said
        assert "200 pictures done" in said
    paths = [row["path"] for row in rows_of(tmp_path / "out")]
    assert len(paths) == len(set(paths)) == 200
    assert len(list((tmp_path / "out/results").iterdir())) == 20


def test_a_job_ended_by_sigterm_goes_on_with_the_same_command(
    tmp_path: Path, command: Command, rows_of: RowsOf, store: Path,
    many_pictures: Callable[[Path, int], None],
) -> None:  # fmt: skip
    many_pictures(tmp_path / "pictures", 1500)
    options = ("--bulk", tmp_path / "pictures", "--out", tmp_path / "out", "--shard-size", 20)
    environment = {"SFD_MODEL_STORE": str(store), "SFD_MODELS": "cells", "SFD_THREADS": "1"}
    # As if the signal came while the main thread took a lock for which a pool's thread waits.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "if '--bulk' in sys.orig_argv:\n"
        "    pool = ThreadPoolExecutor(1)\n"
        "    pool.submit(threading.Event().wait)\n"
    )
    job = command(*options, **environment, PYTHONPATH=str(tmp_path))
    give_up = time.monotonic() + 120
    while not list(tmp_path.glob("out/results/part-*")):
        assert job.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    job.terminate()
    _, said = job.communicate(timeout=60)
    assert job.returncode == 143
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*.tmp"))
    job = command(*options, **environment)
    _, said = job.communicate()
    assert job.returncode == 0
    assert "of them done before" in said
    assert len({row["path"] for row in rows_of(tmp_path / "out")}) == 1500
