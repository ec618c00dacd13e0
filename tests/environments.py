"""Environments of their own for programs that the project's environment does not hold."""

import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Missing = Callable[[str], NoReturn]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def python(folder: Path, missing: Missing, *installs: tuple[str, ...]) -> Path:
    """The interpreter of a new environment; each of `installs` is the arguments of one install.

    Our own pip installs there, and compiles nothing: most modules are never imported.
    """
    venv.create(folder)
    made = folder / "bin" / "python"
    for arguments in installs:
        _run([*PIP, "--python", str(made), "install", "--no-compile", *arguments], folder, missing)
    return made


def npm(program: str, folder: Path, missing: Missing) -> None:
    """Install the npm packages of `requirements.txt` in a folder, which names each with its hash.

    No script of a package runs. What is installed is exactly what the file names.
    """
    lines = (folder / "requirements.txt").read_text().splitlines()
    hashes = dict(line.split() for line in lines if not line.startswith("#"))
    (folder / "package.json").write_text('{"private": true}')
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    _run([program, "install", *options, *hashes], folder, missing)
    installed = json.loads((folder / "node_modules" / ".package-lock.json").read_text())
    found = {
        f"{path.removeprefix('node_modules/')}@{package['version']}": package["integrity"]
        for path, package in installed["packages"].items()
    }
    assert found == hashes


def _run(command: list[str], folder: Path, missing: Missing) -> None:
    what = " ".join(command)[:200]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        missing(f"{what} takes longer than ten minutes")
    if done.returncode:
        missing(f"{what} fails: {done.stderr.strip()[-300:]}")
