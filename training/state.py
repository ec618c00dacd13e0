"""The saved state of a run, from which --resume continues."""

import fcntl
import io
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfd.errors import SfdError
from sfd.files import write_atomically
from training.data.dataset import LabelledImage

STATE = "latest.pt"
WEIGHTS = ("*_iter_*.caffemodel", "average-*.caffemodel")
"""The names under which runs write weights."""
_NAMES = "photographs"
"""The key of the images' names. It is an old name, kept so that older states can be resumed."""


class TrainingError(SfdError):
    """Training that can't start or continue."""


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it; TrainingError if there is one."""
    _make(folder)
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise TrainingError(f"--output {folder}: can't be read: {error.strerror}") from error
    try:
        # Some network file systems can't lock a folder: OSError.
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TrainingError(
                    f"--output {folder}: another training writes there; wait for its end, or give "
                    "another --output"
                ) from error
        yield
    finally:
        os.close(handle)


def begin(folder: Path, *, resume: bool) -> dict[str, Any] | None:
    """Make the folder of a run; returns the state to resume from, or None at a start.

    Raises TrainingError if a start would overwrite the state or weights of another run, or if there
    is no state to resume.
    """
    _make(folder)
    path = folder / STATE
    if path.exists() and not resume:
        raise TrainingError(
            f"{path} already exists: continue with --resume, or give another --output"
        )
    if not resume:
        if old := sorted(each for name in WEIGHTS for each in folder.glob(name)):
            raise TrainingError(
                f"{old[0]} already exists, and a new training may overwrite it: move it to another "
                "folder, or give another --output"
            )
        return None
    if not path.exists():
        raise TrainingError(f"no {path} to resume from: start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("is no dictionary")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is damaged: start in another --output, with the last caffemodel of this one "
            "as --weights"
        ) from error
    return state


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"--output {folder}: can't be made: {error.strerror}") from error


def save(folder: Path, network: nn.Module, state: dict[str, Any]) -> None:
    """Write the state, together with the network's weights.

    The previous state stays if this one can't be written (WriteError), or if a weight is NaN or
    infinite (TrainingError): no run could continue from such weights.
    """
    check_finite(folder, network)
    state = {"network": network.state_dict(), **state}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / STATE, buffer.getvalue())


def check_finite(folder: Path, network: nn.Module) -> None:
    """Raise TrainingError if a weight is NaN or infinite."""
    if not all(each.isfinite().all() for each in network.state_dict().values()):
        raise TrainingError(
            f"some weights became NaN or infinite: lower the learning rate and {advice(folder)}"
        )


def advice(folder: Path) -> str:
    """What to do after a run has failed."""
    return "--resume from the last state" if (folder / STATE).exists() else "start again"


def names(dataset: Sequence[LabelledImage]) -> dict[str, list[str]]:
    """The entry of a state that tells which images the run trains on."""
    return {_NAMES: [each.name for each in dataset]}


def check_images(before: dict[str, Any], dataset: Sequence[LabelledImage]) -> None:
    """Raise TrainingError for images that the resumed run has not trained on.

    It may have held them out.
    """
    others = {each.name for each in dataset}.difference(before[_NAMES])
    if others:
        raise TrainingError(
            f"the run has not trained on {len(others)} of these images, such as {min(others)}: "
            "give the --annotations and --held-out that it was started with, or start another run"
        )
