"""Small networks with seeded random weights, built as `sfd convert` builds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from convert.caffe import network, weights
from convert.outputs.kinds import Built, Kind, build

INPUT = 'name: "t" input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }\n'
FIRST = """\
layer { name: "first" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
"""


@dataclass(frozen=True)
class Case:
    """A network as the verification gets it."""

    built: Built
    weights: bytes


Make = Callable[..., Case]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def make(tmp_path: Path, rng: np.random.Generator) -> Make:
    """Builds a raw network from layers that read `c`, six channels of 9 by 8 pixels.

    `c` is a convolution of the input. Without it (`alone`), the layers read `data`.
    """

    def write(
        layers: str,
        blobs: Mapping[str, Sequence[ArrayLike]] | None = None,
        *,
        alone: bool = False,
        header: str = INPUT,
    ) -> Case:
        prototxt, caffemodel = tmp_path / "deploy.prototxt", tmp_path / "weights.caffemodel"
        prototxt.write_text(header + ("" if alone else FIRST) + layers)
        first = [rng.normal(0, 0.02, (6, 3, 3, 3)), rng.normal(0, 0.5, 6)]
        given = {"first": first, **(blobs or {})}
        stored = {
            name: [np.asarray(blob, np.float32) for blob in arrays]
            for name, arrays in given.items()
        }
        weights.write(caffemodel, "t", stored)
        read = network.load(prototxt, caffemodel)
        return Case(build(read, Kind.RAW, None, "t"), caffemodel.read_bytes())

    return write
