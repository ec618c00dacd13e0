import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from sfd.cli import main
from sfd.files import sha256
from store import model
from store.model import Model

ROOT = Path(__file__).parents[2]
CATALOG = str(ROOT / "model_store/catalog.toml")


class Detector(Protocol):
    prototxt: Path
    caffemodel: Path


@pytest.fixture(autouse=True)
def chosen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `sfd models` use the test's own store."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))


def test_list_shows_what_is_installed_and_what_can_be_pulled(
    built: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--catalog", CATALOG]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "INPUT", "SCORE", "LICENCE", "TITLE"]
    assert lines[1].split()[:5] == [built.name, "ready", "64x64", "0.5", "MIT"]
    assert [line.split()[1] for line in lines[2:]] == ["available"] * 5


def test_list_reports_a_broken_model_and_continues(
    built: Model, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "broken").mkdir()
    (store / "broken/model.toml").write_text("x", "utf-8")
    built.onnx.unlink()
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "broken: " in out
    assert "is not valid TOML" in out
    assert "tiny: " in out
    assert "run `sfd models build tiny`" in out


def test_a_model_in_a_folder_that_may_not_be_read_is_unusable(
    built: Model,
    store: Path,
    close: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (store / "closed").mkdir()
    close(store / "closed")
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert f"closed: {store}/closed/model.toml: cannot be read: Permission denied\n" in out
    assert "ready" in next(line for line in out.splitlines() if line.startswith("tiny"))
    for action in (["verify"], ["show", "closed"], ["build", "closed"]):
        assert main(["models", *action]) == 1
        err = capsys.readouterr().err
        assert "Permission denied" in err
        assert "a bug" not in err


def test_list_as_json_has_every_model_with_its_state(
    built: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--json", "--catalog", CATALOG]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["ready"] + ["available"] * 5
    assert rows[0]["name"] == "tiny"
    assert rows[0]["folder"] == str(built.folder)
    assert rows[1]["sources"]["weights"]["size"] > 0


def test_show_marks_results_that_were_not_measured(
    store: Path, unbuilt: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    with (unbuilt.folder / "model.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[results]]\ndataset = "WIDER FACE"\nprotocol = "official"\n')
    text = (unbuilt.folder / "model.toml").read_text("utf-8").replace("results = []\n", "")
    (unbuilt.folder / "model.toml").write_text(text, "utf-8")
    assert main(["models", "show", "tiny"]) == 0
    assert "not yet measured" in capsys.readouterr().out


def test_show_describes_models_that_can_be_pulled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "sfd-320-mod11l", "--catalog", CATALOG]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sfd-320-mod11l: available\n")
    assert "to fetch:" in out
    assert "easy 0.884, medium 0.862, hard 0.752" in out


def test_show_says_how_the_onnx_file_was_built(
    built: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "build:       unverified: verification was switched off, by sfd " in out


def test_show_as_json_has_the_contents_of_the_toml(
    built: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", "tiny", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["state"] == "ready"
    assert shown["build"]["sha256"] == sha256(built.onnx)
    assert shown["build"]["verification"] == "unverified: verification was switched off"
    assert shown["input"]["mean"] == [104, 117, 123]
    assert shown["sources"]["deploy"] == {
        "file": "deploy.prototxt",
        "sha256": built.sources["deploy"].sha256,
    }


def test_verify_accepts_intact_models(built: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "tiny: all files match their hashes\n"


def test_build_is_done_once_and_again_when_forced(
    unbuilt: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    build = ["models", "build", "tiny", "--no-verify"]
    for arguments, said in (
        (build, "built"),
        (build, "up to date"),
        ([*build, "--force"], "built"),
    ):
        assert main(arguments) == 0
        assert said in capsys.readouterr().out
    model.check(unbuilt)


def test_build_continues_after_a_model_that_fails(
    unbuilt: Model, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "broken").mkdir()
    (store / "broken/model.toml").write_text("x", "utf-8")
    assert main(["models", "build", "--no-verify"]) == 1
    model.check(unbuilt)
    assert "sfd models: broken: " in capsys.readouterr().err


def test_add_then_verify(
    store: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(detector.prototxt), str(detector.caffemodel)]
    told = ["--name", "mine", "--mean", "1,2,3", "--score", "0.4", "--input-size", "32x64"]
    assert main(["models", "add", *files, *told, "--no-verify"]) == 0
    assert main(["models", "verify", "mine"]) == 0
    added = model.load(store / "mine")
    assert added.input == model.Input(32, 64, 3, "bgr", (1, 2, 3))
    assert added.thresholds.default_score == 0.4


def add_with_an_odd_line(detector: Detector, folder: Path) -> list[str]:
    odd = folder / "odd.prototxt"
    odd.write_text(detector.prototxt.read_text() + "purpose: 'none'\n")
    files = [str(odd), str(detector.caffemodel)]
    return ["models", "add", *files, "--name", "mine", "--no-verify"]


def test_add_shows_the_converters_warnings(
    store: Path, detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(add_with_an_odd_line(detector, tmp_path)) == 0
    assert "sfd models: warning: " in (told := capsys.readouterr().err)
    assert "purpose" in told


def test_without_opencv_a_built_or_added_model_comes_with_a_warning(
    unbuilt: Model,
    detector: Detector,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["models", "build"]) == 0
    files = [str(detector.prototxt), str(detector.caffemodel)]
    assert main(["models", "add", *files, "--name", "mine"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    for name, line in zip(["tiny", "mine"], warnings, strict=True):
        expected = f"sfd models: warning: {name}: model.onnx is unverified: install OpenCV 4"
        assert line.startswith(expected)


def test_add_shows_warnings_for_a_refused_model_too(
    store: Path, of_three: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(add_with_an_odd_line(of_three, tmp_path)) == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("sfd models: warning: ")
    assert "detects 3 classes" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "no model 'nothing' in "),
        (["show", "../tiny"], "is not a model name"),
        (["verify", "nothing"], "no model 'nothing' in "),
        (["verify"], "has no model: get one with `sfd models pull NAME`"),
        (["build"], "has no model: get one with `sfd models pull NAME`"),
        (["list", "--store", "/nowhere"], "the model store /nowhere does not exist"),
        (["list", "--catalog", "/nowhere"], "/nowhere: cannot be read: No such file"),
        (["pull", "nothing", "--catalog", CATALOG], "the catalog has no model 'nothing'; it has"),
        (["add", "/nowhere", "/nowhere", "--name", "mine"], "/nowhere"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(
    store: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sfd models: ")
    assert message in error
    assert error.count("\n") == 1
    assert list(store.iterdir()) == []


def test_all_models_that_do_not_match_are_named(
    built: Model, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "broken").mkdir()
    (store / "broken/model.toml").write_text("x", "utf-8")
    built.onnx.write_bytes(b"")
    assert main(["models", "verify"]) == 1
    error = capsys.readouterr().err
    assert "model.onnx: does not match its sha256" in error
    assert "broken/model.toml: is not valid TOML" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["show"],
        ["pull"],
        ["add", "a", "b"],
        ["add", "a", "b", "--name", "c", "--score", "2"],
        ["add", "a", "b", "--name", "c", "--mean", "x"],
        ["add", "a", "b", "--name", "c", "--channel-order", "cmyk"],
        ["add", "a", "b", "--name", "c", "--licence", " "],
        ["add", "a", "b", "--name", "c", "--title", ""],
        ["add", "a", "b", "--name", "c", "--title", "two\nlines"],
        ["add", "a", "b", "--name", "c", "--title", "a\ttab"],
        ["add", "a", "b", "--name", "c", "--title", "\udcff"],
        ["add", "a", "b", "--name", "c", "--licence", "two\u2028lines"],
        ["add", "a", "b", "--name", "c", "--class-names", "face,"],
        ["pull", "a", "--input-size", "0"],
        ["pull", "a", "--input-size", "640x"],
        ["pull", "a", "--input-size", "8193"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", *arguments])
    assert stopped.value.code == 2


@pytest.mark.parametrize("action", ["list", "show", "verify", "build", "add", "pull"])
def test_every_action_has_help_for_all_its_options(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", action, "--help"])
    assert stopped.value.code == 0
    assert "--store DIR" in capsys.readouterr().out


def test_the_store_can_be_named_before_or_after_the_action(
    built: Model, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_MODEL_STORE", "/nowhere")
    assert main(["models", "--store", str(store), "verify"]) == 0
    assert main(["models", "verify", "--store", str(store)]) == 0


def test_without_the_converter_the_command_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the Docker image, which has only the service's packages."""
    monkeypatch.setitem(sys.modules, "store.build", None)
    assert main(["models", "build"]) == 1
    told = capsys.readouterr().err
    assert "needs the Python package" in told
    assert "bug" not in told
