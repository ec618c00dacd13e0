"""Damaged files: the conversion explains them or survives them, and never leaves half a file."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from convert.conversion import convert_file
from convert.options import Options
from sfd.cli import run_command
from sfd.errors import SfdError

MUTATIONS = 500


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]


def mutate(content: bytes, seed: int) -> bytes:
    """One to four random edits: flipped, removed, repeated, inserted bytes, or a cut."""
    choose = random.Random(seed)
    mutated = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(mutated)) if mutated else 0
        length = choose.choice([1, 1, 2, 8, 64, 512])
        match choose.randrange(6):
            case 0 if mutated:
                mutated[at] ^= 1 << choose.randrange(8)
            case 1:
                del mutated[at : at + length]
            case 2:
                mutated[at:at] = mutated[at : at + length]
            case 3:
                mutated[at:at] = choose.randbytes(length)
            case 4:
                mutated[at : at + 1] = b"%d" % choose.choice([-1, 0, 7, 10**6, 2**31, 2**64])
            case _ if choose.random() < 0.3:
                del mutated[at:]
            case _:
                mutated[at : at + length] = choose.randbytes(length)
    return bytes(mutated)


@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("damaged", ["prototxt", "caffemodel"])
def test_damaged_files_are_converted_or_explained(
    tiny: Make, tmp_path: Path, damaged: str, part: int
) -> None:
    model = tiny()
    original = getattr(model, damaged).read_bytes()
    path, output = tmp_path / f"damaged.{damaged}", tmp_path / "out.onnx"
    files = {"prototxt": model.prototxt, "caffemodel": model.caffemodel, damaged: path}
    explained = 0
    for seed in range(part * MUTATIONS // 5, (part + 1) * MUTATIONS // 5):
        path.write_bytes(mutate(original, seed))
        message = "converted"
        try:
            convert_file(files["prototxt"], files["caffemodel"], output, Options(verify=False))
        except SfdError as error:
            message = str(error).strip()
        assert message, seed
        assert output.exists() == (message == "converted"), seed
        explained += message != "converted"
        output.unlink(missing_ok=True)
        assert [item.name for item in tmp_path.iterdir()] == [path.name], seed
    assert explained > MUTATIONS / 5 / 4


@pytest.mark.parametrize("damaged", ["prototxt", "caffemodel"])
def test_the_command_gives_damaged_files_one_message_and_an_exit_code(
    tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: str
) -> None:
    model = tiny()
    original = getattr(model, damaged).read_bytes()
    path = tmp_path / f"damaged.{damaged}"
    files = {"prototxt": model.prototxt, "caffemodel": model.caffemodel, damaged: path}
    for seed in range(1000, 1040):
        path.write_bytes(mutate(original, seed))
        output = tmp_path / f"{seed}.onnx"
        arguments = [str(files["prototxt"]), str(files["caffemodel"]), "-o", str(output)]
        code = run_command("convert", [*arguments, "--no-verify"])
        said = capsys.readouterr().err
        assert code in (0, 1, 2), seed
        assert "Traceback" not in said
        assert "a bug" not in said, said
        assert output.exists() == (code == 0), seed
        if code:
            assert said.startswith("sfd convert: "), seed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prototxt", b""),
        ("prototxt", b"\x00\xff\xfe binary \x80"),
        ("prototxt", b"<html>404</html>"),
        ("prototxt", b'name: "x"\nlayer { name: "a" type: "NoSuchLayer" top: "a" }'),
        ("prototxt", b"layer {" * 5000),
        ("caffemodel", b""),
        ("caffemodel", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("caffemodel", b"\x80\x02}q\x00."),
    ],
)
def test_the_real_command_explains_files_that_are_not_models(
    tiny: Make, tmp_path: Path, name: str, content: bytes
) -> None:
    model = tiny()
    path = tmp_path / f"wrong.{name}"
    path.write_bytes(content)
    files = {"prototxt": model.prototxt, "caffemodel": model.caffemodel, name: path}
    command = [sys.executable, "-m", "sfd", "convert", str(files["prototxt"]),
               str(files["caffemodel"]), "-o", str(tmp_path / "out.onnx")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("sfd convert: ")
    assert "Traceback" not in done.stderr
    assert "a bug" not in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_truncated_caffemodel_is_explained_at_any_length(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    content = model.caffemodel.read_bytes()
    path, output = tmp_path / "cut.caffemodel", tmp_path / "out.onnx"
    for length in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        with pytest.raises(SfdError):
            convert_file(model.prototxt, path, output, Options(verify=False))
        assert not output.exists()


def test_missing_weights_are_all_named(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    for name in ("loc", "conf"):
        text = text.replace(f'{{ name: "{name}" ', f'{{ name: "{name}_renamed" ')
    prototxt = tmp_path / "renamed.prototxt"
    prototxt.write_text(text)
    with pytest.raises(SfdError) as caught:
        convert_file(prototxt, model.caffemodel, tmp_path / "out.onnx")
    assert "loc_renamed" in str(caught.value)
    assert "conf_renamed" in str(caught.value)
    line = text.splitlines().index(next(row for row in text.splitlines() if "loc_renamed" in row))
    assert f"line {line + 1}" in str(caught.value)


def test_weights_of_another_shape_are_explained(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    prototxt = tmp_path / "wider.prototxt"
    prototxt.write_text(model.prototxt.read_text().replace("num_output: 8 ", "num_output: 9 ", 1))
    with pytest.raises(SfdError, match="conv1"):
        convert_file(prototxt, model.caffemodel, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
