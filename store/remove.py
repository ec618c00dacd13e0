"""Removes a model from its store."""

import tempfile
from pathlib import Path
from shutil import rmtree

from store.model import MODEL_FILE, ModelError
from store.places import PACKAGED, locate


def remove(name: str, chosen: Path | None = None) -> Path:
    """Delete a model's folder and return its former path.

    The folder is renamed first, so that no reader ever sees half a model. Raises ModelError if no
    store has the model, if it came with sfd, or if its folder cannot be deleted.
    """
    folder = locate(name, chosen)
    if folder.parent == PACKAGED:
        raise ModelError(f"{name} came with sfd and cannot be removed")
    if folder.is_symlink():
        raise ModelError(f"{folder} is a link; delete the link itself")
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{name}-", suffix=".tmp", dir=folder.parent
        ) as around:
            moved = folder.rename(Path(around) / name)
            # So that an interrupted deletion leaves no half-deleted model.
            (moved / MODEL_FILE).unlink()
            rmtree(moved)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be removed: {error.strerror or error}") from None
    return folder
