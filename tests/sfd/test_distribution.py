import subprocess
import sys
import tomllib
from pathlib import Path

from sfd import distribution

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_one_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == distribution.VERSION
    assert ROOT == distribution.CHECKOUT
    command = [sys.executable, "-m", "sfd", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"sfd {project['version']}\n")
