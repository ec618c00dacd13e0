"""`sfd models quantize`, run as a command."""

import subprocess
import sys
from pathlib import Path

import pytest

from sfd.cli import main
from store.model import Model

CATALOG = Path(__file__).resolve().parents[2] / "model_store/catalog.toml"


@pytest.fixture
def chosen(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sfd models` uses the test's own store."""
    monkeypatch.setenv("SFD_MODEL_STORE", str(store))
    return store


def test_the_command_writes_the_file_and_verify_and_remove_know_it(
    chosen: Path, built: Model, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "quantize", "tiny", "--images", str(images)]) == 0
    out = capsys.readouterr().out
    assert "tiny: wrote" in out
    assert "calibrated on 15 images. On 5 others it finds" in out
    assert main(["models", "verify"]) == 0
    built.int8.write_bytes(b"other")
    assert main(["models", "verify"]) == 1
    assert "model.int8.onnx: does not match its sha256" in capsys.readouterr().err
    assert main(["models", "remove", "tiny"]) == 0
    assert not built.folder.exists()


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        (None, 1, "is not a folder"),
        (0, 2, "the folder has no image files"),
        (3, 1, "has 3 different images, but the calibration needs at least 20"),
    ],
)
def test_a_folder_that_does_not_suit_is_refused(
    chosen: Path, built: Model, images: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], files: int | None, code: int, says: str,
) -> None:  # fmt: skip
    folder = tmp_path / "given"
    if files is not None:
        folder.mkdir()
        for number in range(files):
            (folder / f"{number}.jpg").write_bytes((images / f"{number}.jpg").read_bytes())
    assert main(["models", "quantize", "tiny", "--images", str(folder)]) == code
    assert says in capsys.readouterr().err
    assert not built.int8.exists()


def test_the_setting_limits_the_pixels_of_an_image(
    chosen: Path, built: Model, images: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SFD_MAX_PIXELS", "10000")
    assert main(["models", "quantize", "tiny", "--images", str(images)]) == 1
    assert "the limit is 10000 pixels; remove it from the folder" in capsys.readouterr().err
    assert not built.int8.exists()


def test_a_model_that_is_not_built_is_refused(
    chosen: Path, unbuilt: Model, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "quantize", "tiny", "--images", str(images)]) == 1
    assert "run `sfd models build tiny`" in capsys.readouterr().err


def test_options_of_models_may_stand_before_quantize(
    store: Path, built: Model, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["quantize", "tiny", "--images", str(images)]
    assert main(["models", "--store", str(store), *given]) == 0
    assert built.int8.is_file()
    assert main(["models", "--store", str(store), *given]) == 1
    assert capsys.readouterr().err.startswith("sfd models quantize: ")
    assert main(["models", *given, "--store", str(store), "--force"]) == 0


def test_debug_may_stand_before_quantize(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["models", "--debug", "--store", str(store), "quantize", "a", "--images", "."]
    assert main(given) == 1
    traceback, end = capsys.readouterr().err.rsplit("sfd models quantize: ", 1)
    assert "Traceback" in traceback
    assert end.startswith("no model 'a'")


def test_a_model_of_the_catalog_is_told_how_to_be_pulled(
    chosen: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["sfd-320-mod5-nobn", "--catalog", str(CATALOG), "--images", str(images)]
    assert main(["models", "quantize", *given]) == 1
    assert "`sfd models pull sfd-320-mod5-nobn` downloads it" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--wrong"], ["tiny", "--images", "x", "y"], ["tiny"]])
def test_wrong_arguments_show_its_own_usage(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "quantize", *given])
    assert ended.value.code == 2
    assert "sfd models quantize: error: " in capsys.readouterr().err


def test_python_m_store_runs_it_too() -> None:
    command = [sys.executable, "-m", "store", "quantize", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith("usage: sfd models quantize")


def test_a_missing_package_is_one_line_that_names_the_extra() -> None:
    program = (
        "import sys\n"
        "sys.modules['PIL'] = None\n"
        "from sfd.cli import main\n"
        "sys.exit(main(['models', 'quantize', 'tiny', '--images', '.']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("sfd models quantize: needs the Python package 'PIL")
    assert done.stderr.endswith("run pip install 'sfd[detect]'\n")
