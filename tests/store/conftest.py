"""A small detector that converts quickly, and a store for it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from convert.caffe import prototxt, weights
from convert.caffe.caffe_pb2 import NetParameter
from geometry.arrays import F32
from sfd.files import sha256
from store import model
from store.model import Description, Input, Model, Source, Thresholds
from store.staging import write_description
from training.architecture import networks
from training.architecture.family import Architecture


@dataclass(frozen=True)
class Detector:
    """The two files of a Caffe detector."""

    prototxt: Path
    caffemodel: Path


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory, smallest: Architecture) -> Detector:
    """A detector of random weights on 64x64 pixels."""
    return written(tmp_path_factory.mktemp("detector"), smallest)


@pytest.fixture
def of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smallest: Architecture) -> Detector:
    """The same of three classes."""
    monkeypatch.setattr(networks, "CLASSES", 4)
    return written(tmp_path, smallest)


def written(folder: Path, architecture: Architecture) -> Detector:
    made = Detector(folder / "tiny.prototxt", folder / "tiny.caffemodel")
    net = networks.deploy(architecture)
    made.prototxt.write_text(prototxt.write(net), encoding="utf-8")
    weights.write(made.caffemodel, "tiny", random_blobs(net))
    return made


def random_blobs(net: NetParameter) -> dict[str, tuple[F32, ...]]:
    random = np.random.default_rng(0)
    channels = {"data": 3}
    blobs: dict[str, tuple[F32, ...]] = {}
    for layer in net.layer:
        before = channels[layer.bottom[0]]
        if layer.type == "Convolution":
            conv = layer.convolution_param
            size = conv.kernel_size[0]
            shape = (conv.num_output, before // (conv.group or 1), size, size)
            # Predictions near 0, as after training, so that exp(size) does not overflow.
            scale = np.sqrt(2 / np.prod(shape[1:])) * (0.01 if "mbox" in layer.name else 1)
            kernel = random.normal(0, scale, shape).astype(np.float32)
            blobs[layer.name] = (kernel, np.zeros(conv.num_output, np.float32))
            before = conv.num_output
        channels[layer.top[0]] = before
    return blobs


def describe(detector: Detector, name: str) -> Description:
    return Description(
        name=name,
        version="1",
        title="A tiny detector",
        description="Random weights.",
        licence="MIT",
        origin="made by a test",
        classes=("face",),
        input=Input(height=64, width=64, channels=3, channel_order="bgr", mean=(104, 117, 123)),
        thresholds=Thresholds(default_score=0.5, nms_iou=0.3, top_k=5000, keep_top_k=750),
        sources={
            "deploy": Source("deploy.prototxt", sha256(detector.prototxt)),
            "weights": Source("weights.caffemodel", sha256(detector.caffemodel)),
        },
    )


@pytest.fixture
def description(detector: Detector) -> Description:
    """The `model.toml` of the detector, named `tiny`."""
    return describe(detector, "tiny")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An empty store."""
    folder = tmp_path / "model_store"
    folder.mkdir()
    return folder


@pytest.fixture
def unbuilt(store: Path, detector: Detector, description: Description) -> Model:
    """The detector in the store, not converted yet."""
    folder = store / "tiny"
    folder.mkdir()
    (folder / "deploy.prototxt").write_bytes(detector.prototxt.read_bytes())
    (folder / "weights.caffemodel").write_bytes(detector.caffemodel.read_bytes())
    write_description(description, folder)
    return model.load(folder)


@pytest.fixture
def built(unbuilt: Model) -> Model:
    """The detector in the store, converted."""
    from store.build import build

    build(unbuilt, verify=False)
    return unbuilt


def everything_in(folder: Path) -> set[str]:
    """Every path below a folder, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
