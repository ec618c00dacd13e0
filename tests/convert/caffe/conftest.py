"""A small SSD-like network with every kind of weights, written by these tests alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from convert.caffe import weights
from geometry.arrays import F32

SMALL = """\
name: "small"
input: "data"
input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer {
  name: "conv"
  type: "Convolution"
  bottom: "data"
  top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 }
}
layer {
  name: "conv/bn"
  type: "BatchNorm"
  bottom: "conv"
  top: "conv"
  batch_norm_param { eps: 0.001 }
}
layer {
  name: "conv/scale"
  type: "Scale"
  bottom: "conv"
  top: "conv"
  scale_param { bias_term: true }
}
layer { name: "conv/relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "fc"
  type: "InnerProduct"
  bottom: "conv"
  top: "fc"
  inner_product_param { num_output: 5 }
}
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@dataclass(frozen=True)
class Model:
    """The files of one model."""

    prototxt: Path
    caffemodel: Path


@pytest.fixture
def small_text() -> str:
    return SMALL


@pytest.fixture
def small_blobs() -> dict[str, tuple[F32, ...]]:
    """Values that halves hold exactly, so that every encoding of them is the same."""
    generator = np.random.default_rng(7)

    def values(*shape: int) -> F32:
        return (generator.integers(-64, 64, shape) / 64).astype(np.float32)

    return {
        "conv": (values(4, 3, 3, 3), values(4)),
        "conv/bn": (values(4), np.abs(values(4)) + 1, np.ones(1, np.float32)),
        "conv/scale": (values(4), values(4)),
        "fc": (values(5, 256), values(5)),
    }


@pytest.fixture
def small(tmp_path: Path, small_text: str, small_blobs: dict[str, tuple[F32, ...]]) -> Model:
    model = Model(tmp_path / "small.prototxt", tmp_path / "small.caffemodel")
    model.prototxt.write_text(small_text)
    weights.write(model.caffemodel, "small", small_blobs)
    return model


@pytest.fixture
def prototxt_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a text into a file for the functions that read files."""

    def write(text: str) -> Path:
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return path

    return write
