"""The public API: the examples in its docstring, and its imports."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import onnx
import pytest

import convert
from convert.caffe.diagnostics import CaffeError


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]
PAGE = Path(convert.__file__).parents[1] / "docs" / "convert.md"


@pytest.mark.parametrize("source", ["docstring", "page"])
def test_the_documented_examples_run(
    tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
) -> None:
    text = convert.__doc__ if source == "docstring" else PAGE.read_text("utf-8")
    model = tiny()
    (tmp_path / "deploy.prototxt").write_bytes(model.prototxt.read_bytes())
    (tmp_path / "weights.caffemodel").write_bytes(model.caffemodel.read_bytes())
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", text or "", re.DOTALL)
    assert examples
    names: dict[str, object] = {}
    for example in examples:
        exec(example, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("verified {'boxes': ['batch', 384, 4]")
    assert said[1].startswith("boxes")
    assert onnx.load("model.onnx").graph.name in ("my-detector", "mine")


def test_bytes_give_the_model_of_the_file(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    options = convert.Options(verify=False)
    made, report = convert.convert_bytes(
        model.prototxt.read_bytes(), model.caffemodel.read_bytes(), options
    )
    convert.convert_file(model.prototxt, model.caffemodel, tmp_path / "out.onnx", options)
    assert made == onnx.load(tmp_path / "out.onnx")
    assert report.verification.status is convert.Status.UNVERIFIED
    assert report.outputs == {"boxes": ["batch", 384, 4], "scores": ["batch", 384, 1]}


def test_errors_about_bytes_name_no_file(tiny: Make) -> None:
    model = tiny()
    text = model.prototxt.read_bytes().replace(b'"Sigmoid"', b'"x"').replace(b"num_output: 8", b"q")
    with pytest.raises(CaffeError) as caught:
        convert.convert_bytes(text, model.caffemodel.read_bytes())
    assert str(caught.value).startswith("prototxt: ")
    with pytest.raises(CaffeError) as caught:
        convert.convert_bytes(model.prototxt.read_bytes(), b"nonsense")
    assert "caffemodel: " in str(caught.value)
    assert "/" not in str(caught.value)


def test_every_name_is_there_and_no_other() -> None:
    assert all(getattr(convert, name) for name in convert.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        convert.nonsense  # noqa: B018


def test_a_conversion_imports_no_more_than_the_converter_needs(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    program = (
        "import sys; before = set(sys.modules); from pathlib import Path\n"
        "import convert; assert 'onnx' not in sys.modules\n"
        "convert.convert_file(*map(Path, sys.argv[1:]), convert.Options(verify=False))\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, model.prototxt, model.caffemodel, tmp_path / "out.onnx"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = {name for name in done.stdout.split() if name not in sys.stdlib_module_names}
    unwanted = {
        "cv2",
        "fastapi",
        "starlette",
        "pydantic",
        "PIL",
        "prometheus_client",
        "tqdm",
        "torch",
    }
    assert not found & unwanted
    assert {"onnx", "onnxruntime", "numpy", "google"} <= found
