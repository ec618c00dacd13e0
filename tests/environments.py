"""Environments of their own for programs that the project's environment does not hold.

`python -m tests.environments ARGUMENTS` installs into this environment, as uv's `pip install` does.
"""

import ast
import functools
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

Missing = Callable[[str], NoReturn]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
UV = (sys.executable, "-m", "uv", "--quiet", "--no-config", "--no-progress")
UV_OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
    "cert": "--cert",
}
"""pip's setting, and uv's option for it. uv takes no constraints beside hashes."""


def python(folder: Path, missing: Missing, *installs: tuple[str, ...]) -> Path:
    """The interpreter of a new environment; each of `installs` is the arguments of one install."""
    venv.create(folder)
    made = folder / "bin" / "python"
    for arguments in installs:
        _run(install(made, *arguments), folder, missing)
    return made


def install(python: Path, *arguments: str) -> list[str]:
    """The command that installs packages into another environment, from pip's indexes.

    uv takes a tenth of pip's processor time. It compiles nothing: most modules are never imported.
    """
    return [*UV, "pip", "install", "--python", str(python), *indexes(), *arguments]


@functools.cache
def indexes() -> tuple[str, ...]:
    """uv's options for the package indexes that pip is set to: uv does not read pip's settings."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    # As with pip, the newest version of all indexes wins.
    options = ["--index-strategy", "unsafe-best-match"]
    for name, option in UV_OPTIONS.items():
        # A variable wins over a setting for `pip install`, and that over a setting for all of pip.
        sections = (f"{section}.{name}" for section in (":env:", "install", "global"))
        written = next((found[key] for key in sections if key in found), "''")
        options += [f"{option}={value}" for value in ast.literal_eval(written).split()]
    return tuple(options)


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


if __name__ == "__main__":
    sys.exit(subprocess.call(install(Path(sys.executable), *sys.argv[1:])))
