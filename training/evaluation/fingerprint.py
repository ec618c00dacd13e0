"""Identifies what a detector in this process computes, so that kept detections can be reused."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import PIL

import convert
import detection
import geometry
import training
from sfd.files import sha256
from store.model import MODEL_FILE, Model

PACKAGES = (convert, detection, geometry, training)
"""The code between the bytes of an image and its faces."""


def fingerprint(model: Model, *how: str) -> str:
    """A hash of the model's files, the code and the libraries that it runs in, and `how` it runs.

    It changes with anything that may change a box or a score.
    """
    digest = hashlib.sha256(sha256(model.folder / MODEL_FILE).encode())
    networks = (model.onnx, model.cpu_onnx, model.int8, model.second_look_onnx)
    for path in (model.deploy, model.weights, *networks):
        digest.update(sha256(path).encode() if path.is_file() else b"none")
    digest.update(code().encode())
    digest.update("\n".join(how).encode())
    return digest.hexdigest()


def code() -> str:
    """A hash of the Python modules of `PACKAGES`, and of the versions of the libraries they use."""
    versions = onnxruntime.__version__, np.__version__, PIL.__version__
    digest = hashlib.sha256(" ".join(versions).encode())
    for package in PACKAGES:
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
