import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make(
    folder: Path, *arguments: str, path: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a copy of the Makefile in `folder`, which has a space in its name."""
    (folder / "requirements").mkdir(parents=True, exist_ok=True)
    (folder / "requirements/dev.txt").touch()
    (folder / "pyproject.toml").touch()
    shutil.copy(ROOT / "Makefile", folder)
    environment = {**os.environ, "MAKEFLAGS": ""}
    if path is not None:
        environment["PATH"] = str(path)
    return subprocess.run(
        [str(MAKE), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a checkout"


def test_make_alone_lists_every_target(folder: Path) -> None:
    targets = re.search(r"^\.PHONY: help (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert targets
    listed = make(folder)
    assert listed.returncode == 0
    for target in targets[1].split():
        assert f"make {target} " in listed.stdout


def test_a_path_without_a_recent_enough_python_is_explained(folder: Path, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "sh").symlink_to("/bin/sh")
    old = commands / "python3"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    failed = make(folder, "models", path=commands)
    assert failed.returncode == 2
    assert "sfd needs Python 3.11 or newer, but there is none on the PATH" in failed.stderr
    assert not (folder / ".venv").exists()


def test_a_named_python_that_is_too_old_is_not_used(folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -c ] && echo "too old" >&2\nexit 1\n', "utf-8")
    old.chmod(0o755)
    failed = make(folder, "models", f"PYTHON={old}")
    assert failed.returncode == 2
    assert "too old" in failed.stderr
    assert not (folder / ".venv").exists()
