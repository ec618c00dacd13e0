"""The four prototxt files of a model, as text."""

from collections.abc import Mapping
from pathlib import Path

from convert.caffe import prototxt
from training.architecture import networks
from training.architecture.family import Architecture
from training.architecture.solver import solver

_HEADER = (
    "# Written by `python -m training.architecture`: change the architecture, not this file.\n"
)


def texts(architecture: Architecture, name: str, folder: str) -> Mapping[str, str]:
    """File name to contents, for the model `name` that is to lie in `folder`."""
    messages = {
        "deploy.prototxt": networks.deploy(architecture),
        "train.prototxt": networks.train(architecture),
        "test.prototxt": networks.test(architecture),
        "solver.prototxt": solver(name, folder=folder),
    }
    return {file: _HEADER + prototxt.write(message) for file, message in messages.items()}


def write(architecture: Architecture, name: str, folder: Path) -> tuple[Path, ...]:
    """Write the files into `folder`, which is made if it isn't there; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in texts(architecture, name, folder.as_posix()).items():
        path = folder / file
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return tuple(written)
