import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convert.caffe import weights
from convert.tensorflow.graph_pb2 import GraphDef
from geometry.arrays import F32
from sfd.cli import run_command

Constants = dict[str, F32]
MUTATIONS = 300


@pytest.fixture
def frozen(constants: Constants, freeze: Callable[..., GraphDef], tmp_path: Path) -> Path:
    path = tmp_path / "frozen.pb"
    path.write_bytes(freeze(constants).SerializeToString())
    return path


def sfd(source: Path, output: Path, *more: str) -> int:
    return run_command("import-tensorflow", [str(source), "-o", str(output), *more])


def test_a_transfer_prints_a_summary(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.caffemodel"
    assert sfd(frozen, output) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"{output}: 13 convolutions with BatchNorm, 39 layers, ")
    assert "for an input of (bgr - 104,117,123) * 1\n" in said.out
    assert weights.read_all(output).name == "MobileNetv2-SSD"


def test_the_options_of_the_input_and_the_name_reach_the_file(
    frozen: Path, tmp_path: Path, constants: Constants, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.caffemodel"
    more = ["--channel-order", "rgb", "--mean", "127.5", "--scale", "0.5", "--name", "mine"]
    assert sfd(frozen, output, *more) == 0
    assert "(rgb - 127.5,127.5,127.5) * 0.5" in capsys.readouterr().out
    assert weights.read_all(output).name == "mine"
    expected = constants["Conv/weights"].transpose(3, 2, 0, 1) / (127.5 * 0.5)
    np.testing.assert_allclose(weights.read(output)["Conv"][0], expected, rtol=1e-6)


def test_a_warning_is_one_line(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = GraphDef.FromString(frozen.read_bytes())
    graph.node.add(name="BoxPredictor_0/BoxEncodingPredictor/weights", op="Const")
    frozen.write_bytes(graph.SerializeToString())
    assert sfd(frozen, tmp_path / "out.caffemodel") == 0
    assert capsys.readouterr().err == (
        "sfd import-tensorflow: warning: 1 trained constants have no place in this family and are "
        "left out: those of BoxPredictor_0/BoxEncodingPredictor\n"
    )


@pytest.mark.parametrize(
    "more",
    [
        ["--mean", "1,2"],
        ["--scale", "0"],
    ],
)
def test_options_that_do_not_fit_the_network_exit_2(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert sfd(frozen, tmp_path / "out.caffemodel", *more) == 2
    said = capsys.readouterr().err
    assert said.startswith("sfd import-tensorflow: ")
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["frozen.pb"]


@pytest.mark.parametrize("order", ["gray", "xyz"])
def test_a_channel_order_that_such_networks_do_not_have_is_refused(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], order: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        sfd(frozen, tmp_path / "out.caffemodel", "--channel-order", order)
    assert f"--channel-order: '{order}' is not one of bgr, rgb\n" in capsys.readouterr().err


def test_an_output_that_makes_no_sense_exits_2(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = frozen.read_bytes()
    assert sfd(frozen, frozen) == 2
    assert sfd(frozen, tmp_path) == 2
    assert "is one of the sources" in capsys.readouterr().err
    assert frozen.read_bytes() == before


def test_an_output_that_cannot_be_written_exits_1_and_leaves_nothing(
    frozen: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sfd(frozen, tmp_path / "missing" / "out.caffemodel") == 1
    assert "there is no folder" in capsys.readouterr().err

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert sfd(frozen, tmp_path / "out.caffemodel") == 1
    assert capsys.readouterr().err.endswith("out.caffemodel: No space left on device\n")
    assert [path.name for path in tmp_path.iterdir()] == ["frozen.pb"]


def test_a_failed_transfer_leaves_an_older_file_as_it_was(frozen: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.caffemodel"
    output.write_bytes(b"older")
    frozen.write_bytes(frozen.read_bytes()[:-7000])
    assert sfd(frozen, output) == 1
    assert output.read_bytes() == b"older"


def test_no_damaged_file_ends_in_a_traceback_or_half_a_file(
    frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = frozen.read_bytes()
    output = tmp_path / "out.caffemodel"
    codes = set()
    for seed in range(MUTATIONS):
        choose = random.Random(seed)
        content = bytearray(whole)
        for _ in range(choose.randint(1, 6)):
            at, length = choose.randrange(len(content)), choose.choice([1, 1, 4, 300])
            match choose.randrange(4):
                case 0:
                    content[at] ^= 1 << choose.randrange(8)
                case 1:
                    del content[at : at + length]
                case 2:
                    content[at:at] = choose.randbytes(length)
                case _:
                    content[at : at + length] = choose.randbytes(length)
        frozen.write_bytes(content)
        code = sfd(frozen, output)
        said = capsys.readouterr().err
        assert "unexpected" not in said, (seed, said)
        assert output.exists() == (code == 0), seed
        if code == 0:
            weights.read(output)
        codes.add(code)
        output.unlink(missing_ok=True)
    assert codes == {0, 1}
    assert [path.name for path in tmp_path.iterdir()] == ["frozen.pb"]


def test_no_tensorflow_is_imported(frozen: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from sfd.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit(code or any(n.split('.')[0] == 'tensorflow' for n in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "import-tensorflow", str(frozen), "-o",
         str(tmp_path / "out.caffemodel")],
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
