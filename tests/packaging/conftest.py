"""A wheel of this checkout, and empty environments to install it into."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from tests import environments
from tests.environments import PIP

ROOT = Path(__file__).resolve().parents[2]
MODEL = "sfd-640-mobilenetv2-mod2"


@dataclass(frozen=True)
class Installation:
    """A virtual environment that holds sfd, and a folder outside the checkout to work in."""

    python: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who has set nothing: no SFD_*, and an empty home."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SFD_", "PYTHON", "XDG_", "OTEL_", "OMP_", "OPENCV_"))
        }
        home = self.folder.parent / "home"
        return kept | {"HOME": str(home), "PATH": f"{self.python.parent}:{os.defpath}"}

    def run(self, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment in the folder."""
        program = shutil.which(str(command[0]), path=str(self.python.parent))
        assert program, f"{command[0]} is not installed"
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def output(self, *command: str | Path, **variables: str) -> str:
        """Run a command that must succeed and print nothing on stderr."""
        done = self.run(*command, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> None:
    """A package index that pip reaches."""
    folder = tmp_path_factory.mktemp("index")
    command = [*PIP, "download", "--retries", "1", "--timeout", "15", "--no-deps", "--no-cache-dir"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), "platformdirs"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        reason = (done.stderr.strip().splitlines() or [""])[-1]
        reached = done.returncode == 0
    except (subprocess.TimeoutExpired, OSError) as error:
        reached, reason = False, str(error)
    if not reached:
        missing(f"pip reaches no package index: {reason}")


@pytest.fixture(scope="module")
def wheel(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built in isolation as a user builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        # Most modules of the build's dependencies are never imported.
        env=os.environ | {"PIP_COMPILE": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Installation]:
    """Install the wheel with some extras into a new environment.

    Packages have the versions of this test's own environment, so that a new release changes no
    result.
    """
    versions = tmp_path_factory.mktemp("versions") / "constraints.txt"
    versions.write_text(
        "".join(
            f"{found.name}=={found.version.partition('+')[0]}\n"
            for found in metadata.distributions()
            if found.name not in ("sfd", "pip", "setuptools")
        ),
        "utf-8",
    )

    def make(*extras: str) -> Installation:
        around = tmp_path_factory.mktemp("installation")
        python = around / "venv/bin/python"
        (around / "home").mkdir()
        (around / "work").mkdir()
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True
        )
        what = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
        done = subprocess.run(
            environments.install(python, "--constraint", str(versions), what),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        for file in ("deploy.prototxt", "weights.caffemodel"):
            shutil.copy(ROOT / "model_store" / MODEL / file, around / "work")
        shutil.copy(ROOT / "service/static/sample.jpg", around / "work")
        return Installation(python, around / "work")

    return make
