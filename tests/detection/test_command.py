import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detection.detector import Detector
from detection.errors import Overloaded
from sfd.cli import main

Cells = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _small_model(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    monkeypatch.setenv("SFD_MODELS", "cells")
    monkeypatch.setenv("SFD_THREADS", "1")


@pytest.fixture
def one(tmp_path: Path, bright_cells: Cells) -> Path:
    file = tmp_path / "one.png"
    file.write_bytes(bright_cells(5))
    return file


@pytest.fixture
def two(tmp_path: Path, bright_cells: Cells) -> Path:
    file = tmp_path / "two.jpg"
    file.write_bytes(bright_cells(0, 10, kind="JPEG", quality=100))
    return file


def test_each_face_is_printed_on_its_own_line(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(one)]) == 0
    assert capsys.readouterr().out == f"{one}\t16.0\t16.0\t16.0\t16.0\t1.0\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS allows only UTF-8 in names")
def test_a_name_that_is_not_utf_8_is_printed_as_it_is(one: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    os.link(one, name)
    done = subprocess.run(
        [sys.executable, "-m", "sfd", "detect", name],
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert done.stdout == name + b"\t16.0\t16.0\t16.0\t16.0\t1.0\n", done.stderr


def test_json_is_one_object_for_each_file(
    one: Path, two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "--json", str(one), str(two)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"] == str(one)
    assert first["image"] == {"width": 64, "height": 64}
    assert [len(first["faces"]), len(second["faces"])] == [1, 2]


def test_a_file_that_fails_does_not_stop_the_others_and_the_exit_code_is_1(
    one: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(one.read_bytes()[:60])
    assert main(["detect", str(bad), str(one), str(tmp_path / "absent.png"), str(two)]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert f"{bad}: the PNG data is broken" in err
    assert "absent.png: cannot be read: No such file or directory" in err
    assert err.splitlines()[-1] == "sfd detect: 2 of 4 images failed"


def test_json_reports_failures_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", "--json", str(tmp_path / "absent.png")]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "unreadable-file"


def test_a_file_above_the_limit_is_not_read(
    one: Path,
    two: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a bulk job. The same holds for standard input."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(10**12)
    monkeypatch.setenv("SFD_MAX_BYTES", str(one.stat().st_size))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(two.read_bytes() * 10)))
    command = ["detect", "--json", str(tmp_path / "huge.png"), str(one), "-"]
    assert main(command) == 1
    huge, fits, stdin = map(json.loads, capsys.readouterr().out.splitlines())
    assert huge["error"]["type"] == stdin["error"]["type"] == "file-too-large"
    assert huge["error"]["detail"].endswith("(SFD_MAX_BYTES)")
    assert len(fits["faces"]) == 1


def test_the_boxes_are_drawn(one: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "drawn.png"
    assert main(["detect", str(one), "--draw", str(out)]) == 0
    before, after = np.asarray(Image.open(one)), np.asarray(Image.open(out))
    assert before.shape == after.shape
    changed = np.argwhere((before != after).any(-1))
    assert changed.min(0).tolist() <= [16, 16]
    assert (after[40:] == before[40:]).all(), "far from the box nothing is drawn"


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_faces_are_hidden_instead_of_drawn(one: Path, tmp_path: Path, style: str) -> None:
    out = tmp_path / "hidden.png"
    assert main(["detect", str(one), "--draw", str(out), "--style", style]) == 0
    before, after = np.asarray(Image.open(one)), np.asarray(Image.open(out))
    # The face's box is white and its margin black: their means are gray.
    assert 0 < after[14, 24].max() < 255
    assert (after[40:] == before[40:]).all()


def test_tiles_find_a_small_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wide.png"
    image = Image.new("RGB", (256, 64))
    image.paste((255, 255, 255), (112, 16, 128, 32))
    image.save(file)
    assert main(["detect", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["detect", "--tiles", "auto", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\t112.0\t16.0\t16.0\t16.0\t1.0\n"


def test_tiles_of_one_file_fit_for_any_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SFD_QUEUE_LIMIT", "SFD_MAX_IMAGES"):
        monkeypatch.setenv(name, "16")
    image = Image.new("RGB", (256, 64))
    image.paste((255, 255, 255), (112, 16, 128, 32))
    files = [tmp_path / f"{number}.png" for number in range(16)]
    for file in files:
        image.save(file)
    assert main(["detect", "--tiles", "auto", *map(str, files)]) == 0
    expected = [f"{file}\t112.0\t16.0\t16.0\t16.0\t1.0" for file in files]
    assert capsys.readouterr().out.splitlines() == expected


def test_the_package_is_the_command_too(one: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "detection", one], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{one}\t16.0\t16.0\t16.0\t16.0\t1.0\n", done.stderr


def test_another_provider_is_refused_with_all_names(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["detect", str(one), "--provider", "gpu"])
    said = capsys.readouterr().err
    assert all(name in said for name in ("cpu", "cuda", "openvino"))
    assert "ProviderName" not in said


def test_a_style_without_a_drawing_is_refused(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(one), "--style", "blur"]) == 2
    assert "--style says how to draw: add --draw OUT" in capsys.readouterr().err


def test_several_drawings_do_not_go_into_a_folder_that_is_named_like_a_picture(
    one: Path, two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jpg"
    assert main(["detect", str(one), str(two), "--draw", str(out)]) == 2
    assert "out.jpg: names a picture; several images need a folder" in capsys.readouterr().err
    assert not out.exists()


def test_a_slash_behind_a_drawing_means_a_folder(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jpg"
    with pytest.raises(SystemExit) as stopped:
        main(["detect", str(one), "--draw", f"{out}/"])
    assert stopped.value.code == 2
    assert "means a folder, but none is there: make it first" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    assert main(["detect", str(one), "--draw", f"{out}/"]) == 0
    assert [each.suffix for each in out.iterdir()] == [".png"]


def test_several_drawings_go_into_a_folder(one: Path, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    assert main(["detect", str(one), str(two), "--draw", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["one.png", "two.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.png", "--min-score", "2"],
        ["x.png", "--max-faces", "0"],
        ["x.png", "--draw", "out.xyz"],
        ["x.png", "--draw", "out.psd"],
        ["x.png", "--provider", "gpu"],
        ["a/x.png", "b/x.jpg", "--draw", "out"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    try:
        code = main(["detect", *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2


@pytest.mark.parametrize("ending", ["pdf", "gif", "tif", "bmp"])
def test_only_png_jpeg_and_webp_are_drawn(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    out = tmp_path / f"drawn.{ending}"
    assert main(["detect", str(one), "--draw", str(out)]) == 2
    assert f"--draw {out}: end it in .png, .jpg or .webp" in capsys.readouterr().err
    assert not out.exists()


def test_options_reach_the_detector(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(two), "--max-faces", "1", "--model", "others"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["detect", str(two), "--min-score", "1"]) == 0
    assert capsys.readouterr().out == ""


def test_more_files_than_the_queue_holds_are_all_processed(
    one: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "2")
    monkeypatch.setenv("SFD_MAX_IMAGES", "2")
    assert main(["detect", *[str(one)] * 5]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_a_file_refused_beside_others_is_done_alone(
    one: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    detect_all = Detector.detect_all

    async def crowded(self: Detector, files: Any, *rest: Any) -> Any:
        refused: list[Any] = [Overloaded("too many images that take long")] * len(files)
        return refused if len(files) > 1 else await detect_all(self, files, *rest)

    monkeypatch.setattr(Detector, "detect_all", crowded)
    assert main(["detect", *[str(one)] * 3]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal")
def test_a_terminal_shows_the_progress_unless_the_results_go_there(one: Path) -> None:
    import termios

    shown, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    command = [sys.executable, "-m", "sfd", "detect", *[str(one)] * 3]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, check=True)
    assert len(result.stdout.splitlines()) == 3
    assert b"0/3" in os.read(shown, 10_000)
    subprocess.run(command, stdout=terminal, stderr=terminal, check=True)
    # The results end the wait for what the terminal shows.
    printed = os.read(shown, 10_000)
    assert printed.count(b"one.png") == 3
    assert b"/3" not in printed
    os.close(shown)
    os.close(terminal)


def test_a_picture_without_faces_is_reported_as_such(
    tmp_path: Path, bright_cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "empty.png"
    file.write_bytes(bright_cells())
    assert main(["detect", str(file)]) == 0
    assert capsys.readouterr() == ("", f"sfd detect: {file}: no faces\n")


def test_small_faces_can_be_left_out(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(one), "--min-size", "17"]) == 0
    assert capsys.readouterr().out == ""


def test_standard_input_is_an_image(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with one.open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        assert main(["detect", "-", "--draw", str(tmp_path / "drawn")]) == 0
    assert capsys.readouterr().out == "-\t16.0\t16.0\t16.0\t16.0\t1.0\n"
    assert [file.name for file in (tmp_path / "drawn").iterdir()] == ["stdin.png"]


def test_an_original_is_not_overwritten_without_force(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = one.read_bytes()
    assert main(["detect", str(one), "--draw", str(one)]) == 2
    assert "one.png already exists" in capsys.readouterr().err
    assert one.read_bytes() == before
    assert main(["detect", str(one), "--draw", str(one), "--force"]) == 0
    assert one.read_bytes() != before


def test_files_in_the_images_own_folder_are_not_overwritten_without_force(
    one: Path, tmp_path: Path, bright_cells: Cells, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.png").write_bytes(bright_cells(1))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert main(["detect", str(tmp_path), "--draw", str(tmp_path)]) == 2
    assert "already exists, and 1 more; choose another path" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_drawing_that_cannot_be_written_leaves_the_old_file(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    out.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["detect", str(one), "--draw", str(out), "--force"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert out.read_bytes() == b"before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.png", "out.png"]
