"""`sfd design` from the console to its files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import NetParameter, SolverParameter
from sfd.cli import main
from training.architecture import networks, variation
from training.architecture.family import MOD2


def test_it_writes_four_files_and_prints_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    command = ["--output", str(out), "--architecture", "mod11e", "--input-size", "256x512"]
    assert main(["design", *command]) == 0
    names = {"deploy.prototxt", "train.prototxt", "test.prototxt", "solver.prototxt"}
    assert {path.name for path in out.iterdir()} == names
    assert set(capsys.readouterr().out.split()) == {str(out / name) for name in names}
    net = prototxt.read(out / "deploy.prototxt", NetParameter).message
    assert list(net.input_shape[0].dim) == [1, 3, 256, 512]
    solver = prototxt.read(out / "solver.prototxt", SolverParameter).message
    assert solver.train_net == str(out / "train.prototxt")
    assert list(solver.test_net) == [str(out / "test.prototxt")]
    assert Path(solver.snapshot_prefix).name == "new"


def test_files_that_were_edited_are_overwritten_only_with_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["design", "--output", str(tmp_path)]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(command) == 0
    (tmp_path / "deploy.prototxt").unlink()
    for name in ("train.prototxt", "solver.prototxt"):
        (tmp_path / name).write_text("edited\n")
    capsys.readouterr()
    assert main(command) == 2
    assert "has other contents in train.prototxt, solver.prototxt" in capsys.readouterr().err
    assert not (tmp_path / "deploy.prototxt").exists()
    assert (tmp_path / "solver.prototxt").read_text() == "edited\n"
    assert main([*command, "--force"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("size", ["0", "640x", "-1", "wide", "640x480x3"])
def test_a_malformed_size_is_wrong_usage(size: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["design", "--output", str(tmp_path), "--input-size", size])
    assert stopped.value.code == 2


def test_a_folder_that_cannot_be_made_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["design", "--output", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert said == f"sfd design: --output {tmp_path / 'file'}: can't be made: File exists\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--expansion", "0"], "--expansion must be from 1 to 100"),
        (["--expansion", "1000000000"], "--expansion must be from 1 to 100"),
        (["--strides", "2,1"], "one for each block; the architecture has 2,1,1,1,1,2"),
        (["--strides", ",".join(["3"] * 16)], "needs 16 strides of 1 or 2"),
        (["--width-multiplier", "nan"], "from 0.01 to 100"),
    ],
)
def test_an_impossible_variation_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["design", "--output", str(tmp_path / "new"), *options]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_variations_are_combined(tmp_path: Path) -> None:
    strides = ",".join(str(block.stride) for block in MOD2.blocks)
    options = ["--expansion", "2", "--strides", strides, "--width-multiplier", "0.5"]
    assert main(["design", "--output", str(tmp_path), *options]) == 0
    net = prototxt.read(tmp_path / "deploy.prototxt", NetParameter).message
    expected = networks.deploy(variation.widened(variation.expanded(MOD2, 2), 0.5))
    assert net == expected


def test_a_malformed_list_of_strides_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["design", "--output", str(tmp_path), "--strides", "wide"])
    assert stopped.value.code == 2


def test_the_package_runs_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.architecture", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(tmp_path / "deploy.prototxt") in done.stdout.split()


def test_a_folder_whose_name_is_not_utf_8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsdecode(bytes(tmp_path) + b"/m\xff")
    assert main(["design", "--output", folder]) == 1
    said = capsys.readouterr().err
    assert "is not UTF-8, as the text of the solver must be; choose another" in said
    assert not Path(folder).exists()
