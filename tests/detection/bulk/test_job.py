"""`sfd detect --bulk` from a source to its rows, in this process."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet as pq
import pytest

from detection import settings
from detection.bulk.errors import BulkError
from detection.bulk.job import _summary
from detection.bulk.plan import read
from detection.bulk.settings import BulkSettings
from detection.bulk.worker import Worker
from sfd.cli import main
from sfd.files import sha256
from store.build import build
from store.model import load

pytestmark = pytest.mark.usefixtures("_small_model")
Rows = list[dict[str, Any]]
RowsOf = Callable[[Path], Rows]
Capture = pytest.CaptureFixture[str]


def bulk(source: object, out: object, *arguments: object) -> int:
    return main(["detect", "--bulk", str(source), "--out", str(out), *map(str, arguments)])


def faces(rows: Rows) -> dict[str, int | str]:
    """The number of faces of each picture, or the type of its error."""
    return {
        os.path.basename(row["path"]): row["error"]["type"] if row["error"] else len(row["faces"])
        for row in rows
    }


SEVEN = {f"{number}.png": number for number in range(7)}


def test_a_folder_becomes_one_row_for_each_picture(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, store: Path, capsys: Capture
) -> None:
    assert bulk(pictures, tmp_path / "out", "--shard-size", 3) == 0
    first, last = capsys.readouterr().err.splitlines()
    assert first == "sfd detect: 7 pictures"
    assert re.fullmatch(r"sfd detect: 7 pictures done, none failed, \d+\.\d per second", last)
    rows = rows_of(tmp_path / "out")
    assert faces(rows) == SEVEN
    one = next(row for row in rows if row["path"].endswith("/1.png"))
    assert one == {
        "path": str(pictures / "deep/1.png"),
        "sha256": hashlib.sha256((pictures / "deep/1.png").read_bytes()).hexdigest(),
        "width": 64,
        "height": 64,
        "faces": [{"x": 0.0, "y": 0.0, "width": 16.0, "height": 16.0, "score": 1.0}],
        "error": None,
        "model": "cells",
        "model_sha256": sha256(store / "cells/model.onnx"),
    }
    assert len(list((tmp_path / "out/results").iterdir())) == 3


def test_the_numbers_are_those_of_sfd_detect(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, capsys: Capture
) -> None:
    assert bulk(pictures, tmp_path / "out") == 0
    assert main(["detect", "--json", str(pictures)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = {
        answer["file"]: [face["box"] | {"score": face["score"]} for face in answer["faces"]]
        for answer in answers
    }
    assert {row["path"]: row["faces"] for row in rows_of(tmp_path / "out")} == expected


def test_a_list_becomes_one_row_for_each_name_and_paths_are_relative_to_it(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, bright_cells: Callable[..., bytes],
    capsys: Capture,
) -> None:  # fmt: skip
    fsspec.filesystem("memory").pipe_file("/job/remote.png", bright_cells(1, 3, 9))
    lines = ["0.png", pictures / "2.png", "memory://job/remote.png", "0.png", "absent.png"]
    (pictures / "list.txt").write_text("\n".join(map(str, lines)))
    assert bulk(pictures / "list.txt", tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out")
    assert faces(rows) == {
        "0.png": 0,
        "2.png": 2,
        "remote.png": 3,
        "absent.png": "unreadable-file",
    }
    assert {row["path"] for row in rows} == set(map(str, lines)), "as they are in the list"
    assert "list.txt names 1 picture again; each is done once" in capsys.readouterr().err


def test_a_table_of_paths_becomes_one_row_for_each_path(
    pictures: Path, tmp_path: Path, rows_of: RowsOf
) -> None:
    paths = sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png"))
    pq.write_table(pa.table({"path": paths}), pictures / "table.parquet")
    assert bulk(pictures / "table.parquet", tmp_path / "out", "--column", "path") == 0
    assert faces(rows_of(tmp_path / "out")) == SEVEN


@pytest.mark.parametrize("url", ["", "memory://job/"])
def test_a_table_of_bytes_becomes_one_row_for_each_row(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, url: str
) -> None:
    names = sorted(path.name for path in pictures.rglob("*.png"))
    content = [next(pictures.rglob(name)).read_bytes() for name in names]
    table = pa.table({"image": [*content, None], "name": [*names, "none.png"]})
    path = url + "table.parquet" if url else str(tmp_path / "table.parquet")
    with fsspec.open(path, "wb") as file:
        pq.write_table(table, file, row_group_size=5)
    options = ("--column", "image", "--key", "name", "--shard-size", 3)
    assert bulk(path, tmp_path / "out", *options) == 0
    rows = rows_of(tmp_path / "out")
    assert faces(rows) == SEVEN | {"none.png": "unreadable-file"}
    assert rows[0]["sha256"] == hashlib.sha256(content[0]).hexdigest()


def test_a_remote_folder_goes_to_a_remote_folder(
    bright_cells: Callable[..., bytes], capsys: Capture
) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(5):
        memory.pipe_file(f"/remote/in/{number}.png", bright_cells(*range(number)))
    for expected in ("5 pictures done, none failed", "5 pictures done\n"):
        assert bulk("memory://remote/in", "memory://remote/out", "--shard-size", 2) == 0
        assert expected in capsys.readouterr().err
    rows = dataset.dataset("/remote/out/results", filesystem=memory).to_table().to_pylist()
    assert faces(rows) == {f"{number}.png": number for number in range(5)}


def bomb() -> bytes:
    """A PNG whose header says 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels


def test_a_bad_picture_is_a_row_with_its_error(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, bright_cells: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    bad = {
        "empty.png": (b"", "invalid-image"),
        "truncated.png": (bright_cells(1)[:60], "invalid-image"),
        "noise.jpg": (b"\xff\xd8\xff" + bytes(range(256)) * 9, "invalid-image"),
        "text.png": (b"<html>not found</html>", "unsupported-media-type"),
        "bomb.png": (bomb(), "too-many-pixels"),
        "large.png": (bright_cells(1) + bytes(20_000), "file-too-large"),
    }
    for name, (content, _) in bad.items():
        (pictures / name).write_bytes(content)
    os.mkfifo(pictures / "pipe.png")
    (pictures / "dangling.png").symlink_to("nowhere")
    monkeypatch.setenv("SFD_MAX_BYTES", "20kB")
    assert bulk(pictures, tmp_path / "out", "--shard-size", 4) == 0
    rows = rows_of(tmp_path / "out")
    assert faces(rows) == SEVEN | {name: slug for name, (_, slug) in bad.items()}
    row = next(row for row in rows if row["path"].endswith("bomb.png"))
    assert row["error"]["detail"].startswith("the image has 10000 megapixels")
    assert row["sha256"] == hashlib.sha256(bomb()).hexdigest()
    assert (row["width"], row["faces"]) == (None, None)
    assert "13 pictures done, 6 failed (3 invalid-image" in capsys.readouterr().err


def test_a_name_that_is_not_utf_8_is_read_and_written_with_escapes(
    tmp_path: Path, rows_of: RowsOf, bright_cells: Callable[..., bytes]
) -> None:
    (tmp_path / "in").mkdir()
    try:
        with open(os.fsencode(tmp_path) + b"/in/\xff.png", "wb") as file:
            file.write(bright_cells(1, 3))
    except OSError:
        pytest.skip("this file system allows only UTF-8 in names")
    assert bulk(tmp_path / "in", tmp_path / "out") == 0
    assert faces(rows_of(tmp_path / "out")) == {"\\xff.png": 2}


def test_a_picture_on_which_the_model_fails_is_a_row(
    tmp_path: Path, rows_of: RowsOf, bright_cells: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from detection.session import Session

    run = Session.run

    def fail_on_white(session: Session, images: Any) -> Any:
        if any(image.min() == 255 for image in images):
            raise FloatingPointError("not a number")
        return run(session, images)

    monkeypatch.setattr(Session, "run", fail_on_white)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good.png").write_bytes(bright_cells(1))
    (tmp_path / "in/white.png").write_bytes(bright_cells(*range(16)))
    assert bulk(tmp_path / "in", tmp_path / "out") == 0
    assert faces(rows_of(tmp_path / "out")) == {"good.png": 1, "white.png": "internal-error"}


def test_a_model_that_no_longer_runs_ends_the_job_and_writes_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from detection import session

    infer = session._infer
    calls: list[Any] = []

    def break_down(network: Any, images: Any, *options: Any, **named: Any) -> Any:
        # The first images are the blank ones of the start.
        calls.extend(image for image in images if len({*image.flat}) != 3)
        if calls:
            raise RuntimeError("the device is lost")
        return infer(network, images, *options, **named)

    monkeypatch.setattr(session, "_infer", break_down)
    assert bulk(pictures, tmp_path / "out") == 1
    assert "cells: the model does not run: the device is lost" in capsys.readouterr().err
    assert not (tmp_path / "out/results").exists()


def test_tiles_and_thresholds_reach_the_detector(
    pictures: Path, tmp_path: Path, rows_of: RowsOf
) -> None:
    options = ("--tiles", "auto", "--max-faces", 2, "--min-size", 1, "--nms-iou", 0.4)
    assert bulk(pictures, tmp_path / "out", *options) == 0
    assert faces(rows_of(tmp_path / "out")) == {
        name: min(count, 2) for name, count in SEVEN.items()
    }
    assert bulk(pictures, tmp_path / "none", "--min-score", 1) == 0
    assert set(faces(rows_of(tmp_path / "none")).values()) == {0}


@pytest.mark.parametrize("tiles", ["off", "auto"])
def test_a_short_queue_refuses_no_picture(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, tiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "2")
    assert bulk(pictures, tmp_path / "out", "--tiles", tiles) == 0
    assert faces(rows_of(tmp_path / "out")) == SEVEN


def test_the_same_command_does_only_what_is_missing(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, capsys: Capture
) -> None:
    assert bulk(pictures, tmp_path / "out", "--shard-size", 2) == 0
    before = rows_of(tmp_path / "out")
    parts = sorted((tmp_path / "out/results").iterdir())
    times = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    capsys.readouterr()
    assert bulk(pictures, tmp_path / "out", "--shard-size", 2) == 0
    first, last = capsys.readouterr().err.splitlines()
    assert first == "sfd detect: 7 pictures, 5 of them done before"
    assert last.startswith("sfd detect: 7 pictures done, 2 of them in this run, none failed, ")
    again = [part.stat().st_mtime_ns for part in parts]
    assert [new == old for new, old in zip(again, times, strict=True)] == [True, False, True, True]
    assert rows_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--min-score", "0.2"], "min_score 0.5 before, 0.2 now"),
        (["--shard-size", "5"], "shard_size 1000 before, 5 now"),
        (["--model", "others"], "model name cells before, others now"),
        (["--tiles", "auto"], "tiles false before, true now"),
    ],
)
def test_another_option_is_refused_and_the_results_stay(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, options: list[str], says: str,
    capsys: Capture,
) -> None:  # fmt: skip
    assert bulk(pictures, tmp_path / "out") == 0
    before = rows_of(tmp_path / "out")
    capsys.readouterr()
    assert bulk(pictures, tmp_path / "out", *options) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert says in said
    assert "choose another --out" in said
    assert rows_of(tmp_path / "out") == before


def test_another_second_look_is_refused_here_and_by_a_worker(
    pictures: Path, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:  # fmt: skip
    store = shutil.copytree(tiny_store, tmp_path / "store")
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "tiny")
    toml = store / "tiny/model.toml"
    rules = "\n[second_look]\nside = 32\nscale = 0.5\nmin_side = 16\ntrigger = 0.2\n"
    toml.write_text(toml.read_text("utf-8") + rules, "utf-8")
    build(load(toml.parent), verify=False)
    assert bulk(pictures, tmp_path / "out") == 0

    toml.write_text(toml.read_text("utf-8").replace("trigger = 0.2", "trigger = 0.9"), "utf-8")
    capsys.readouterr()
    assert bulk(pictures, tmp_path / "out") == 2
    assert re.search("model second_look_sha256 [0-9a-f]{12} before, ", capsys.readouterr().err)
    plan = read((tmp_path / "out/plan.json").read_bytes(), "out")
    with pytest.raises(
        BulkError, match="the model tiny here is not the plan's: model second_look_sha256"
    ):
        Worker(plan, str(tmp_path / "out"), settings.load(BulkSettings))


def test_an_int8_job_without_its_file_is_refused_before_anything_is_written(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("SFD_PRECISION", "int8")
    assert bulk(pictures, tmp_path / "out") == 1
    assert "does not mention model.int8.onnx" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_changed_source_is_refused_unless_the_listing_is_kept(
    pictures: Path, tmp_path: Path, rows_of: RowsOf, bright_cells: Callable[..., bytes],
    capsys: Capture,
) -> None:  # fmt: skip
    assert bulk(pictures, tmp_path / "out") == 0
    (pictures / "new.png").write_bytes(bright_cells(1))
    (part,) = (tmp_path / "out/results").iterdir()
    part.unlink()
    assert bulk(pictures, tmp_path / "out") == 2
    assert "source pictures 7 before, 8 now" in capsys.readouterr().err
    assert bulk(pictures, tmp_path / "out", "--keep-listing") == 0
    assert faces(rows_of(tmp_path / "out")) == SEVEN


def test_there_is_no_listing_to_keep_at_the_first_start(
    pictures: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert bulk(pictures, tmp_path / "out", "--keep-listing") == 2
    assert "has no listing yet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_share_a_job(pictures: Path, tmp_path: Path, rows_of: RowsOf) -> None:
    for part, rows in (("2/2", 3), ("1/2", 7)):
        assert bulk(pictures, tmp_path / "out", "--shard-size", 1, "--part", part) == 0
        assert len(rows_of(tmp_path / "out")) == rows
    assert faces(rows_of(tmp_path / "out")) == SEVEN


@pytest.mark.parametrize("name", ["notes.txt", "results/mine.parquet"])
def test_a_folder_with_foreign_files_is_refused(
    pictures: Path, tmp_path: Path, name: str, capsys: Capture
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert bulk(pictures, tmp_path / "out") == 2
    assert "which is not of a bulk job; choose a new or empty folder" in capsys.readouterr().err
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_source_without_pictures_is_refused(
    tmp_path: Path, content: str, capsys: Capture
) -> None:
    (tmp_path / "list.txt").write_text(content)
    assert bulk(tmp_path / "list.txt", tmp_path / "out") == 2
    assert "list.txt: has no pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_ends_the_job_before_anything_is_written(
    pictures: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert bulk(pictures, tmp_path / "out", "--model", "nobody") == 1
    assert "no model 'nobody'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pyarrow'] = None; from sfd.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "detect", "--bulk", tmp_path, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "sfd detect: needs the Python package 'pyarrow', which is not installed: run "
        "pip install 'sfd[detect,bulk]'\n"
    )


def test_the_summary_counts_failures_by_type() -> None:
    assert _summary(5, 0, Counter(), 0) == "5 pictures done"
    assert (
        _summary(5, 5, Counter(a=1, b=2), 1.26)
        == "5 pictures done, 3 failed (2 b, 1 a), 1.3 per second"
    )
