"""The state of a run in its folder: what --resume goes on from."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfd.errors import SfdError
from sfd.files import write_atomically
from training.photographs import Photograph

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


def save(folder: Path, network: nn.Module, state: dict[str, Any]) -> None:
    """Write the state, with the network's, whole or not at all.

    Raises TrainingError for weights that are no numbers, from which no run can go on, and
    WriteError where it can't be written: in both cases the state before stays.
    """
    weights = network.state_dict()
    if not all(each.isfinite().all() for each in weights.values()):
        raise TrainingError(f"weights are no numbers any more: lower the rate and {advice(folder)}")
    state = {"network": weights, **state}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / STATE, buffer.getvalue())


def advice(folder: Path) -> str:
    """How a run that has failed is begun again."""
    return "--resume from the last state" if (folder / STATE).exists() else "start again"


def check_photographs(before: dict[str, Any], photographs: Sequence[Photograph]) -> None:
    """Refuse to train on what the run, so far, may have held out.

    `before` has the names that it trained on; TrainingError where there are others now.
    """
    others = {each.name for each in photographs}.difference(before["photographs"])
    if others:
        raise TrainingError(
            f"{len(others)} photographs, such as {min(others)}, are none that this run has trained "
            "on: give the --annotations and --held-out that it began with, or start another run"
        )
