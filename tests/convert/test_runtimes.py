"""Converted files in OpenCV 5 and OpenVINO, which can't read Caffe any more. Both run in a separate
environment, because OpenCV 5 replaces OpenCV 4.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import Preprocessing
from convert.verify.inputs import pictures
from geometry.arrays import F32
from tests import environments
from tests.convert import networks

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("other_runtimes.py")
PACKAGES = ("opencv-python-headless>=5,<6", "openvino>=2025", "numpy")
RUNTIMES = ("opencv", "openvino")
BOUND = 2e-6
"""Of the largest value of an output: a dozen units in the last place of float32."""


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]
Answers = dict[str, F32]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """The interpreter of an environment with OpenCV 5 and OpenVINO."""
    return environments.python(tmp_path_factory.mktemp("environment"), missing, PACKAGES)


@pytest.fixture(scope="module")
def folder(tiny: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of each kind, with the input of each."""
    made = tmp_path_factory.mktemp("files")
    model = tiny()
    scene = pictures(3, 48, 64)["scene"][None]
    for kind in Kind:
        convert_file(model.prototxt, model.caffemodel, made / f"{kind}.onnx", Options(output=kind))
        inputs: dict[str, NDArray[np.generic]] = {"images": scene}
        if kind is Kind.RAW:
            inputs = {"data": Preprocessing.of(3).apply(scene)}
        np.savez(made / f"{kind}.npz", **inputs)  # type: ignore[arg-type]
    random = np.random.default_rng(3)
    for name, text in networks.small():
        prototxt = made / f"{name}.prototxt"
        prototxt.write_text(text)
        report = convert_file(prototxt, None, made / f"{name}.onnx", Options(simulated_weights=1))
        shape = [1, *map(int, report.input["shape"][1:])]  # type: ignore[index]
        np.savez(made / f"{name}.npz", data=random.normal(0, 60, shape).astype(np.float32))
    return made


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_runtimes_give_the_same_outputs(python: Path, folder: Path, runtime: str) -> None:
    subprocess.run([python, SCRIPT, runtime, folder], check=True, timeout=300)
    files = sorted(folder.glob("*.onnx"))
    assert len(files) == len(Kind) + 5
    for file in files:
        session = onnxruntime.InferenceSession(file)
        names = [output.name for output in session.get_outputs()]
        inputs = dict(np.load(file.with_suffix(".npz")))
        expected = dict(zip(names, session.run(None, inputs), strict=True))
        found = dict(np.load(file.with_suffix(f".{runtime}.npz")))
        for name, array in expected.items():
            assert array.size
            bound = BOUND * np.abs(array).max()
            np.testing.assert_allclose(
                found[name].reshape(array.shape), array, rtol=0, atol=bound, err_msg=file.name
            )


def test_the_detections_are_not_empty(folder: Path) -> None:
    session = onnxruntime.InferenceSession(folder / "detections.onnx")
    [rows] = session.run(None, dict(np.load(folder / "detections.npz")))
    assert len(rows) > 5


def test_opencv_5_has_no_importer_for_caffe(python: Path) -> None:
    program = "import cv2, sys; sys.exit(hasattr(cv2.dnn, 'readNetFromCaffe'))"
    assert subprocess.run([python, "-c", program], timeout=60).returncode == 0
