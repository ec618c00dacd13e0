"""The four prototxt files of a model, as text."""

from collections.abc import Mapping
from pathlib import Path

from convert.caffe import prototxt
from sfd.errors import SfdError, UsageError
from sfd.files import write_atomically
from sfd.terminal import is_utf8
from training.architecture import networks
from training.architecture.family import Architecture
from training.architecture.solver import solver

_HEADER = (
    # The same as `sfd design`. This text is part of the published model's hashes, so it stays.
    "# Written by `python -m training.architecture`: change the architecture, not this file.\n"
)


class DesignError(SfdError):
    """A design that can't be written."""


def texts(architecture: Architecture, name: str, folder: str) -> Mapping[str, str]:
    """The text of each file by its name, for the model `name` in `folder`."""
    messages = {
        "deploy.prototxt": networks.deploy(architecture),
        "train.prototxt": networks.train(architecture),
        "test.prototxt": networks.test(architecture),
        "solver.prototxt": solver(name, folder=folder),
    }
    return {file: _HEADER + prototxt.write(message) for file, message in messages.items()}


def write(
    architecture: Architecture, name: str, folder: Path, *, force: bool = False
) -> tuple[Path, ...]:
    """Write the files into `folder`, which is created if needed; returns their paths.

    Raises DesignError or WriteError if they can't be written, and UsageError if some exist with
    other content and `force` is not set. Nothing is written then.
    """
    for option, text in (("--output", str(folder)), ("--name", name)):
        if not is_utf8(text):
            raise DesignError(
                f"{option} {text}: is not UTF-8, as the text of the solver must be; choose another"
            )
    contents = {
        folder / file: text.encode()
        for file, text in texts(architecture, name, folder.as_posix()).items()
    }
    if not force and (others := [path.name for path in contents if _differs(path, contents[path])]):
        raise UsageError(
            f"--output {folder}: already has other contents in {', '.join(others)}; choose another "
            "folder, or add --force to overwrite"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DesignError(f"--output {folder}: can't be made: {error.strerror}") from error
    for path, content in contents.items():
        write_atomically(path, content)
    return tuple(contents)


def _differs(path: Path, content: bytes) -> bool:
    """Whether a file exists that has other content, or that can't be read."""
    try:
        return path.is_file() and path.read_bytes() != content
    except OSError:
        return True
