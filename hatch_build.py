"""Adds the catalog and the default model, converted and verified, to a wheel of this project.

Hatch runs it when a wheel is built (`pip wheel .`, `pip install .`). It does nothing for an
editable installation, and does not run where HATCH_BUILD_NO_HOOKS is `true`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STORE = "model_store"
INSTALLED_STORE = "sfd/model_store"
"""Folder of the models in the wheel: in sfd's own package, so no other project's files clash."""
BUILT = ("model.onnx", "model.int8.onnx", "model.cpu.onnx", "model.second_look.onnx", "build.json")


class CustomBuildHook(BuildHookInterface[Any]):
    """Builds the models in a temporary folder and adds the files to the wheel."""

    _folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Convert the models that the hook's table lists. Raises RuntimeError if one fails."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="sfd-wheel-")
        store = Path(self._folder.name)
        try:
            _build(Path(self.root), self.config["models"], store)
        except BaseException:
            self._folder.cleanup()
            raise
        for file in sorted(store.rglob("*")):
            if file.is_file():
                target = f"{INSTALLED_STORE}/{file.relative_to(store).as_posix()}"
                build_data["force_include"][str(file)] = target

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        if self._folder is not None:
            self._folder.cleanup()


def _build(root: Path, models: Sequence[str], store: Path) -> None:
    """Fill an empty store with a checkout's catalog and models, converted and verified."""
    shutil.copy(root / STORE / "catalog.toml", store)
    for name in models:
        # Convert again: the checkout's model.onnx may have been made by other code.
        sources = shutil.ignore_patterns(*BUILT)
        shutil.copytree(root / STORE / name, store / name, ignore=sources)
    _convert(root, store)
    for name in models:
        _check_verified(store / name / "build.json")


def _convert(root: Path, store: Path) -> None:
    """Run `sfd models build` of this checkout, even if another sfd is installed."""
    command = [sys.executable, "-m", "sfd", "models", "--store", str(store), "build"]
    # Keep PYTHONPATH: pip passes its build dependencies in it.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"building the wheel's models failed: {done.stderr.strip()}")


def _check_verified(record: Path) -> None:
    verification = json.loads(record.read_text("utf-8"))["verification"]
    if verification != "verified":
        raise RuntimeError(f"the wheel's model {record.parent.name} is {verification}")
