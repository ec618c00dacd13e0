"""A user's files in the current folder do not hide our packages, in real processes."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sfd.cli import COMMANDS

ROOT = Path(__file__).parents[2]
SFD = Path(sys.executable).with_name("sfd")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
SPAWNING = """\
import multiprocessing
from pathlib import Path

if __name__ == "__main__":
    from sfd.search_path import put_current_folder_last

    put_current_folder_last()
    from store.model import folder_of

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(folder_of, (Path("here"), "there")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module of the user for each of our packages, and one more."""
    for name in {*PACKAGES} - {"sfd"}:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a module of the user')\n", "utf-8")
    (tmp_path / "mine.py").write_text("NAME = 'mine'\n", "utf-8")
    return tmp_path


def run(folder: Path, *command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_python_m_sfd_runs_our_own_packages(folder: Path) -> None:
    assert "usage: sfd serve" in run(folder, sys.executable, "-m", "sfd", "serve", "--help")


def test_all_commands_run_our_own_packages(folder: Path) -> None:
    """In one process: to import each command's libraries again would take most of the time."""
    program = (
        "from contextlib import suppress\n"
        "from sfd.cli import COMMANDS, main\n"
        "for command in COMMANDS:\n"
        "    with suppress(SystemExit):\n"
        "        main([*command.split(), '--help'])\n"
    )
    # "" is the current folder, where `python -m sfd` puts it.
    usages = run(folder, sys.executable, "-c", program).splitlines()
    for command in COMMANDS:
        assert any(line.startswith(f"usage: sfd {command} [") for line in usages), command


def test_the_command_runs_our_own_packages_with_the_folder_in_pythonpath(folder: Path) -> None:
    listed = run(folder, SFD, "models", "list", PYTHONPATH=".")
    assert "sfd-640-mobilenetv2-mod2" in listed


def test_a_package_run_by_its_name_finds_the_others(folder: Path) -> None:
    (folder / "convert.py").unlink()
    usage = run(folder, sys.executable, "-m", "convert", "--help")
    assert "usage: sfd convert" in usage


def test_a_spawned_process_runs_our_own_packages_too(folder: Path) -> None:
    (folder / "program.py").write_text(SPAWNING, "utf-8")
    assert run(folder, sys.executable, "program.py") == "here/there\n"


def test_modules_of_the_user_can_still_be_imported(folder: Path) -> None:
    program = (
        "from sfd.search_path import put_current_folder_last as last\n"
        "last(); last()\n"
        "import mine, store.model, sys\n"
        "print(mine.NAME, len(sys.path) - len(set(sys.path)))\n"
    )
    assert run(folder, sys.executable, "-c", program) == "mine 0\n"


def test_a_deleted_current_folder_does_not_matter(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "os.rmdir(os.getcwd())\n"
        "from sfd.cli import main\n"
        "sys.exit(main(['models', '--help']))\n"
    )
    folder = tmp_path / "deleted"
    folder.mkdir()
    assert "usage: sfd models" in run(folder, sys.executable, "-c", program)
