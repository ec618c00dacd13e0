"""Nothing is reported to the maker of onnxruntime, and nothing is written for that."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sfd import telemetry
from tests.conftest import ROOT

PACKAGES = ("benchmarks", "convert", "detection", "quantization", "service", "store", "training")
IMPORT = re.compile(r"^(import|from) onnxruntime\b", re.MULTILINE)


def imports_onnxruntime(path: Path) -> bool:
    """Whether a module imports it when it is imported itself."""
    return IMPORT.search(path.read_text("utf-8")) is not None


MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if imports_onnxruntime(path)
]


def written_by(code: str, folder: Path, **environment: str) -> list[str]:
    """The files that Python writes under its home folder, without our variable and those of CI."""
    folder.mkdir()
    environment |= {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def _reports(tmp_path: Path) -> None:
    """Skip the test if this onnxruntime does not report."""
    if not written_by("import onnxruntime", tmp_path / "alone"):
        pytest.skip("this onnxruntime reports nothing")


def test_modules_are_found() -> None:
    assert {"convert.conversion", "detection.session"} <= set(MODULES)


@pytest.mark.usefixtures("_reports")
@pytest.mark.parametrize("module", MODULES)
def test_no_module_lets_onnxruntime_report(module: str, tmp_path: Path) -> None:
    assert written_by(f"import {module}", tmp_path / "ours") == []


@pytest.mark.usefixtures("_reports")
def test_a_user_may_let_it_report(tmp_path: Path) -> None:
    wanted = {telemetry.VARIABLE: "0"}
    assert written_by("import detection.session", tmp_path / "ours", **wanted)
