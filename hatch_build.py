"""Puts the catalog and the default model, converted and verified, into a wheel of this project.

Hatch calls it where a wheel is built (`pip wheel .`, `pip install .`). It does nothing for an
editable installation, and does not run where HATCH_BUILD_NO_HOOKS is `true`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STORE = "model_store"
INSTALLED_STORE = "sfd/model_store"
"""Where the wheel has its models: in our own package, so that no other project's files are met."""
BUILT = ("model.onnx", "build.json")


class CustomBuildHook(BuildHookInterface[Any]):
    """Builds the models in a temporary folder, and adds its files to the wheel."""

    _folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Convert the models that `models` of the hook's table names; RuntimeError if one fails."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sfd-wheel-")
        built = Path(self._folder.name)
        for name in self.config["models"]:
            shutil.copytree(
                Path(self.root, STORE, name), built / name, ignore=shutil.ignore_patterns(*BUILT)
            )
        shutil.copy(Path(self.root, STORE, "catalog.toml"), built)
        _convert(Path(self.root), built)
        for name in self.config["models"]:
            _check_verified(built / name / "build.json")
        for file in sorted(built.rglob("*")):
            if file.is_file():
                target = f"{INSTALLED_STORE}/{file.relative_to(built).as_posix()}"
                build_data["force_include"][str(file)] = target

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()


def _convert(root: Path, store: Path) -> None:
    """Run `sfd models build` of this checkout, whatever sfd may be installed beside it."""
    command = [sys.executable, "-m", "sfd", "models", "--store", str(store), "build"]
    # PYTHONPATH is how pip hands its build dependencies on, so it stays.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the models of the wheel can't be built: {done.stderr.strip()}")


def _check_verified(record: Path) -> None:
    verification = json.loads(record.read_text("utf-8"))["verification"]
    if verification != "verified":
        raise RuntimeError(f"the model {record.parent.name} of the wheel is {verification}")
