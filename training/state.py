"""The state of a run in its folder: what --resume goes on from."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from convert.files import write_atomically
from sfd.errors import SfdError

STATE = "latest.pt"


class TrainingError(SfdError):
    """Training that can't go on."""


def begin(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """Make the folder of a run; the state that it resumes from, or None at a start.

    Raises TrainingError where a start would overwrite a state, and where there is none to resume.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--output {folder}: can't be made: {error.strerror}") from error
    path = folder / STATE
    if path.exists() and not resume:
        raise TrainingError(
            f"{path} is there already: continue with --resume, or give another --output"
        )
    if not resume:
        return None
    if not path.exists():
        raise TrainingError(f"no {path} to resume from: start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged: start in another --output, with the last caffemodel of this one "
            "as --weights"
        ) from error
    return state


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the state whole or not at all; WriteError where it can't be written."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / STATE, buffer.getvalue())
