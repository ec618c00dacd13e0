import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import onnx
import pytest

from convert import command, conversion
from convert.report import Status, Verification
from sfd.cli import main, run_command


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]


def sfd(model: Files, output: Path, *more: str) -> int:
    return run_command("convert", [str(model.prototxt), str(model.caffemodel), "-o", str(output),
                                   *more])  # fmt: skip


def test_a_conversion_prints_a_summary(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sfd(tiny(), tmp_path / "out.onnx") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"{tmp_path / 'out.onnx'}: heads of tiny, 14 layers as" in said.out
    assert "; verified (" in said.out
    assert "images ['batch', 48, 64, 3] -> boxes ['batch', 384, 4]" in said.out


def test_every_option_reaches_the_file(tiny: Make, tmp_path: Path) -> None:
    output, report = tmp_path / "out.onnx", tmp_path / "report.json"
    code = sfd(
        tiny(classes=3), output, "--input-size", "32x64", "--mean", "1,2,3", "--scale", "0.5",
        "--channel-order", "rgb", "--output", "detections", "--name", "two", "--class-names",
        "face,mask", "--report", str(report), "--verify",
    )  # fmt: skip
    assert code == 0
    found = {item.key: item.value for item in onnx.load(output).metadata_props}
    expected = {
        "sfd.name": "two",
        "sfd.output": "detections",
        "sfd.input_size": "32x64",
        "sfd.mean": "1,2,3",
        "sfd.scale": "0.5",
        "sfd.channel_order": "rgb",
        "sfd.class_names": '["face", "mask"]',
    }
    assert expected.items() <= found.items()
    written = json.loads(report.read_text())
    assert written["metadata"] == found
    assert written["verification"]["status"] == "verified"
    comparison = written["verification"]["comparisons"][0]
    assert set(comparison) == {
        "input", "output", "reference", "difference", "bound", "passed", "note"
    }  # fmt: skip


def test_verification_can_be_switched_off(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sfd(tiny(), tmp_path / "out.onnx", "--no-verify") == 0
    said = capsys.readouterr()
    assert "unverified (0 comparisons)" in said.out
    assert said.err == ""


def test_a_file_without_a_reference_comes_with_a_warning(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert sfd(tiny(), tmp_path / "out.onnx") == 0
    said = capsys.readouterr().err
    assert "warning" in said
    assert "is unverified: install OpenCV 4" in said
    assert "pip install 'sfd[verify]'" in said


def test_a_failed_verification_exits_1_with_its_report_and_no_file(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Verification(Status.FAILED, "boxes differ")
    monkeypatch.setattr(conversion, "verify", lambda *_: failed)
    report = tmp_path / "report.json"
    assert sfd(tiny(), tmp_path / "out.onnx", "--report", str(report)) == 1
    assert capsys.readouterr().err.startswith(
        "sfd convert: verification failed, no file written: boxes differ"
    )
    assert json.loads(report.read_text())["verification"]["reason"] == "boxes differ"
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    "more",
    [
        ["--mean", "1,2"],
        ["--mean", "red"],
        ["--scale", "big"],
        ["--scale", "0"],
        ["--input-size", "0"],
        ["--input-size", "640x"],
        ["--input-size", "large"],
        ["--output", "boxes"],
        ["--channel-order", "gbr"],
        ["--channel-order", "gray"],
        ["--output", "raw", "--mean", "1,2,3"],
        ["--unknown"],
    ],
)
def test_wrong_usage_exits_2_in_one_message(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    try:
        code: object = sfd(tiny(), tmp_path / "out.onnx", *more)
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    assert "sfd convert: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny()
    assert run_command("convert", [str(model.prototxt), str(model.caffemodel)]) == 2
    assert capsys.readouterr().err == (
        "sfd convert: the file to write is missing: give -o OUT.onnx, or --explain\n"
    )
    assert run_command("convert", [str(model.prototxt), "-o", str(tmp_path / "out.onnx")]) == 2
    assert "give the .caffemodel, or --simulate-weights" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_output_may_stand_between_the_files_of_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command("convert", ["a.prototxt", "-o", str(tmp_path / "x.onnx"), "b.caffemodel"])
    assert code == 1
    assert "a.prototxt: can't read it" in capsys.readouterr().err


def test_the_former_option_for_tensorflow_names_the_new_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command("convert", ["--from-tensorflow", "graph.pb", "-o", "out.caffemodel"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "sfd convert: --from-tensorflow was replaced by a command: "
        "sfd import-tensorflow FROZEN_GRAPH.pb -o OUT.caffemodel\n"
    )


@pytest.mark.parametrize("missing", ["prototxt", "caffemodel"])
def test_a_missing_file_exits_1(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    model = tiny()
    getattr(model, missing).unlink()
    assert sfd(model, tmp_path / "out.onnx") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(getattr(model, missing)) in said


@pytest.mark.parametrize("taken", ["prototxt", "caffemodel", "output", "data"])
def test_a_report_overwrites_neither_a_source_nor_the_onnx_file(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    model, output = tiny(), tmp_path / "out.onnx"
    written = {"output": output, "data": tmp_path / "out.onnx.data"}
    report = written.get(taken) or getattr(model, taken)
    before = model.prototxt.read_bytes(), model.caffemodel.read_bytes()
    assert sfd(model, output, "--no-verify", "--report", str(report)) == 2
    assert "is a source or the ONNX file" in capsys.readouterr().err
    assert (model.prototxt.read_bytes(), model.caffemodel.read_bytes()) == before
    assert not output.exists()


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_no_file_takes_the_place_of_a_pipe(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    output = pipe if option == "-o" else tmp_path / "out.onnx"
    more = ["--report", str(pipe)] if option == "--report" else []
    assert sfd(tiny(), output, "--no-verify", *more) == 1
    assert f"can't write {pipe}: it is a device or a pipe" in capsys.readouterr().err
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("option", ["-o", "--report"])
@pytest.mark.parametrize("name", ["x" * 300, "link"])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_done(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, option: str
) -> None:
    (tmp_path / "link").symlink_to("link")
    path = tmp_path / name
    output = path if option == "-o" else tmp_path / "out.onnx"
    more = ["--report", str(path)] if option == "--report" else []
    assert sfd(tiny(), output, "--no-verify", *more) == 1
    said = capsys.readouterr().err
    assert f"can't write {path}: " in said
    assert "bug" not in said
    assert [each.name for each in tmp_path.iterdir()] == ["link"]


def test_a_report_that_cannot_be_written_is_explained_before_anything_is_done(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for report in (tmp_path, tmp_path / "missing" / "report.json"):
        assert sfd(tiny(), tmp_path / "out.onnx", "--no-verify", "--report", str(report)) == 2
        assert "can't write the report" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_an_output_that_ends_with_a_slash_is_refused(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    model = tiny()
    outputs = {"-o": f"{tmp_path}/out.onnx", "--report": f"{tmp_path}/report.json"}
    outputs[option] = f"{tmp_path}/new/"
    words = [word for pair in outputs.items() for word in pair]
    with pytest.raises(SystemExit) as caught:
        run_command("convert", [str(model.prototxt), str(model.caffemodel), *words, "--no-verify"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {option}: '{tmp_path}/new/' is a folder: give the name of a file" in said
    assert not list(tmp_path.iterdir())


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command("convert", ["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for option in ("-o", "--input-size", "--mean", "--scale", "--channel-order", "--output",
                   "--verify", "--no-verify", "--report", "--name", "--class-names",
                   "--explain", "--simulate-weights"):  # fmt: skip
        assert option in said
    assert command.DESCRIPTION.splitlines()[0] in said


def test_the_package_is_the_command(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    done = subprocess.run(
        [sys.executable, "-m", "convert", str(model.prototxt), str(model.caffemodel), "-o",
         str(tmp_path / "out.onnx")],
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.onnx").is_file()


@pytest.mark.parametrize("where", ["weights", "temporary files", "output"])
def test_paths_need_not_be_utf_8(tiny: Make, tmp_path: Path, where: str) -> None:
    model, odd = tiny(), tmp_path / os.fsdecode(b"odd\xfe")
    odd.mkdir()
    folder = odd if where == "weights" else tmp_path
    caffemodel = Path(shutil.copy(model.caffemodel, folder / "w.caffemodel"))
    name = os.fsdecode(b"odd\xfe/\xfe.onnx") if where == "output" else "out.onnx"
    # In a process of its own: OpenCV crashes on such a path.
    done = subprocess.run(
        [sys.executable, "-m", "convert", model.prototxt, caffemodel, "-o", tmp_path / name],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(odd if where == "temporary files" else tmp_path)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "; verified (" in done.stdout
    assert (tmp_path / name).is_file()
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {caffemodel, tmp_path / name}


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("SIGINT", 1, "sfd convert: interrupted\n"), ("SIGTERM", 143, "")],
)
def test_a_signal_ends_it_and_leaves_no_file(
    tiny: Make, tmp_path: Path, name: str, code: int, says: str
) -> None:
    model = tiny()
    program = (
        "import os, signal, sys\n"
        "sync = os.fsync\n"
        "def interrupted(handle):\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "    sync(handle)\n"
        "os.fsync = interrupted\n"
        "from sfd.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", str(model.prototxt), str(model.caffemodel), "-o",
         str(tmp_path / "out.onnx"), "--no-verify"],
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, says)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_a_missing_caffemodel_is_named_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt = tmp_path / "deploy.prototxt"
    prototxt.write_text('input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }')
    absent = tmp_path / "nope.caffemodel"
    assert main(["convert", str(prototxt), str(absent), "-o", str(tmp_path / "o.onnx")]) == 1
    assert capsys.readouterr().err == (
        f"sfd convert: {absent}: can't read it: No such file or directory\n"
    )


DIGITS = """\
layer { name: "train-data" type: "Data" top: "data" top: "label" include { stage: "train" } }
layer { name: "data" type: "Input" top: "data" include { stage: "deploy" }
        input_param { shape { dim: [1, 1, 8, 8] } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 3 } }
layer { name: "sure" type: "ReLU" bottom: "fc" top: "sure" include { min_level: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss"
        exclude { stage: "deploy" } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" include { stage: "deploy" } }
"""


@pytest.mark.parametrize(
    ("options", "outputs"),
    [
        (["--input-size", "8"], {"fc"}),
        (["--stage", "deploy"], {"prob"}),
        (["--stage", "x", "--stage", "y,deploy"], {"prob"}),
        (["--stage", "deploy", "--level", "2"], {"prob", "sure"}),
    ],
)
def test_stages_and_a_level_choose_layers_as_in_caffes_own_tool(
    tmp_path: Path, options: list[str], outputs: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prototxt, onnx_file = tmp_path / "all.prototxt", tmp_path / "net.onnx"
    prototxt.write_text(DIGITS)
    arguments = [str(prototxt), "--simulate-weights", "1", "-o", str(onnx_file), *options]
    assert run_command("convert", arguments) == 0
    assert {output.name for output in onnx.load(onnx_file).graph.output} == outputs
    hint = "because of their stage: data, prob; --stage deploy includes them"
    assert (hint in capsys.readouterr().err) == ("--stage" not in options)


def test_an_empty_stage_is_refused(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        sfd(tiny(), tmp_path / "out.onnx", "--stage", "a,")
    assert stopped.value.code == 2
