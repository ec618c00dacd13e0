"""Models on OpenVINO, in each precision. It runs in an environment of its own, because
onnxruntime-openvino replaces onnxruntime: the one of the image's lock.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pytest

from detection.agreement import agrees, builtin_pictures
from detection.precision import Precision, lacking, processor_features
from detection.predictions import Predictions
from detection.providers import ProviderName
from detection.session import open_session
from quantization.images import Images
from quantization.making import make
from store import model as models
from store.model import Model
from tests import environments

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("openvino_runs.py")
LOCK = ROOT / "requirements/openvino.txt"


class Ran(NamedTuple):
    """What a run of the script gave."""

    provider: str
    precision: str
    single: list[Predictions]
    """Of a session for batches of one image."""
    one_by_one: list[Predictions]
    """Of a session for larger batches."""
    batch: list[Predictions]


Run = Callable[[Precision, ProviderName], Ran]


def needs(precision: Precision) -> None:
    """Skip unless the processor can: no program can be installed for that."""
    reason = lacking(precision, processor_features())
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """The interpreter of an environment with the image's packages."""
    folder = tmp_path_factory.mktemp("environment")
    return environments.python(folder, missing, ("--require-hashes", "-r", str(LOCK)))


@pytest.fixture(scope="module")
def model(built_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The default model, with an int8 file if the processor can measure one."""
    folder = tmp_path_factory.mktemp("store") / built_model.parent.name
    shutil.copytree(built_model.parent, folder, ignore=shutil.ignore_patterns("model.int8.onnx"))
    copy = models.load(folder)
    if lacking(Precision.INT8, processor_features()) is None:
        sample = ROOT / "service/static/sample.jpg"
        make(copy, Images([sample], [sample], "0" * 64), force=True)
    return copy


@pytest.fixture(scope="module")
def run(python: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("outputs")

    def start(precision: Precision, provider: ProviderName) -> Ran:
        output = folder / f"{precision}-{provider}.npz"
        command = [
            str(each) for each in (python, SCRIPT, model.folder, precision, provider, output)
        ]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = np.load(output)
        predictions = [
            Predictions(*pair) for pair in zip(found["boxes"], found["scores"], strict=True)
        ]
        provider_ran, precision_ran = found["what"].tolist()
        return Ran(provider_ran, precision_ran, predictions[:2], predictions[2:4], predictions[4:])

    return start


@pytest.fixture(scope="module")
def reference(model: Model) -> list[Predictions]:
    """In float32, on the CPU provider of this environment's onnxruntime."""
    session = open_session(model, ProviderName.CPU, 1, 1)
    return [session.run([each])[0] for each in builtin_pictures(model)]


def environment(**settings: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        **{f"SFD_{name}": value for name, value in settings.items()},
    }


def serve_dry(python: Path, model: Model, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "sfd", "serve", "--dry-run"],
        env=environment(
            MODEL_STORE=str(model.folder.parent), LOG_FORMAT="console", THREADS="2", **settings
        ),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("precision", Precision)
def test_its_faces_agree_with_float32_on_the_cpu(
    run: Run, model: Model, reference: list[Predictions], precision: Precision
) -> None:
    needs(precision)
    ran = run(precision, ProviderName.OPENVINO)
    assert ran.provider == "openvino"
    assert ran.precision.split("+")[0] == precision
    for found in (ran.single, ran.one_by_one, ran.batch):
        assert agrees(model, precision, reference, found)


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.INT8])
def test_its_cpu_provider_agrees_too(
    run: Run, model: Model, reference: list[Predictions], precision: Precision
) -> None:
    needs(precision)
    ran = run(precision, ProviderName.CPU)
    assert (ran.provider, ran.precision) == ("cpu", precision)
    assert agrees(model, precision, reference, ran.single)


def test_bfloat16_really_runs(run: Run, reference: list[Predictions]) -> None:
    needs(Precision.BFLOAT16)
    float32, bfloat16 = (
        np.abs(run(precision, ProviderName.OPENVINO).single[0].scores - reference[0].scores).max()
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    # bfloat16 has a precision of 2^-8, float32 of 2^-24.
    assert float32 < 1e-5
    assert bfloat16 > 1e-3


@pytest.mark.parametrize("precision", Precision)
def test_auto_takes_a_provider_and_says_what_runs(
    python: Path, model: Model, precision: Precision
) -> None:
    needs(precision)
    done = serve_dry(python, model, PROVIDER="auto", PRECISION=precision)
    assert done.returncode == 0, done.stderr
    found = re.search(r"on (\w+) in ([\w+]+)\n.*auto chose (\w+): ", done.stdout)
    assert found is not None, done.stdout
    assert found[1] == found[3]
    assert found[2].split("+")[0] == precision
    if precision is Precision.BFLOAT16:
        assert found[1] == "openvino"
    assert "built-in photograph: 1 face(s)" in done.stdout


def test_cuda_is_refused_with_the_package_that_has_it(python: Path, model: Model) -> None:
    done = serve_dry(python, model, PROVIDER="cuda")
    assert done.returncode == 1
    assert "this onnxruntime has no CUDAExecutionProvider, only OpenVINO" in done.stderr
