"""Environments of their own for checkers that the project's environment does not hold."""

import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Missing = Callable[[str], NoReturn]


def python(folder: Path, missing: Missing, *installs: tuple[str, ...]) -> Path:
    """The interpreter of a new environment; each of `installs` is the arguments of one install."""
    venv.create(folder, with_pip=True)
    made = folder / "bin" / "python"
    for arguments in installs:
        command = [str(made), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
        _run(command, folder, missing)
    return made


def npm(program: str, folder: Path, missing: Missing) -> None:
    """Install what the lock in this folder names; no script of a package runs."""
    _run([program, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, missing)


def _run(command: list[str], folder: Path, missing: Missing) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        missing(f"{' '.join(command[1:4])} takes longer than ten minutes")
    if done.returncode:
        missing(f"{' '.join(command[1:4])} fails: {done.stderr.strip()[-300:]}")
