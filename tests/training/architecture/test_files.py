from pathlib import Path

import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import NetParameter, SolverParameter
from training.architecture import files, networks
from training.architecture.__main__ import main
from training.architecture.family import MOD2, MOD11G

ROOT = Path(__file__).parents[3]
DEFAULT = "model_store/sfd-640-mobilenetv2-mod2"


def test_the_committed_files_of_the_default_model_are_what_the_generator_writes() -> None:
    for file, text in files.texts(MOD2, Path(DEFAULT).name, DEFAULT).items():
        assert (ROOT / DEFAULT / file).read_text(encoding="utf-8") == text, (
            f"run `python -m training.architecture --out {DEFAULT}`"
        )


def test_the_text_reads_back_as_the_same_network() -> None:
    texts = files.texts(MOD11G, "small", "model_store/small")
    assert prototxt.parse(texts["train.prototxt"], NetParameter).message == networks.train(MOD11G)
    read = prototxt.parse(texts["solver.prototxt"], SolverParameter).message
    assert read.train_net == "model_store/small/train.prototxt"


def test_the_command_writes_four_files_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    command = ["--out", str(out), "--architecture", "mod11e", "--input-size", "256x512"]
    assert main(command) == 0
    names = {"deploy.prototxt", "train.prototxt", "test.prototxt", "solver.prototxt"}
    assert {path.name for path in out.iterdir()} == names
    assert set(capsys.readouterr().out.split()) == {str(out / name) for name in names}
    net = prototxt.read(out / "deploy.prototxt", NetParameter).message
    assert list(net.input_shape[0].dim) == [1, 3, 256, 512]
    solver = prototxt.read(out / "solver.prototxt", SolverParameter).message
    assert solver.train_net == str(out / "train.prototxt")
    assert list(solver.test_net) == [str(out / "test.prototxt")]
    assert Path(solver.snapshot_prefix).name == "new"


@pytest.mark.parametrize("size", ["0", "640x", "-1", "wide", "640x480x3"])
def test_a_size_that_is_none_is_wrong_usage(size: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path), "--input-size", size])
    assert stopped.value.code == 2


def test_a_folder_that_cannot_be_made_is_explained_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
