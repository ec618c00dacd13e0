"""Reads a frozen graph and writes a caffemodel."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.caffe import weights
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.weights import Blobs
from convert.files import check_output
from convert.outputs.preprocessing import Preprocessing
from convert.tensorflow import graph
from convert.tensorflow.blobs import blobs
from convert.tensorflow.graph import GraphError
from convert.tensorflow.units import find


@dataclass(frozen=True)
class Transfer:
    """What was written."""

    layers: Mapping[str, Blobs]
    """Layers in the order of the family's prototxts."""
    convolutions: int
    batch_norm: bool
    """Whether BatchNorm follows each convolution; otherwise each has biases, as in merged files."""
    warnings: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """The number of values in the file."""
        return sum(blob.size for arrays in self.layers.values() for blob in arrays)


def transfer(source: Path, output: Path, preprocessing: Preprocessing, name: str) -> Transfer:
    """Write the weights of the frozen graph `source` to the caffemodel `output`, or write no file.

    Raises GraphError with all problems of the graph, UsageError if `output` makes no sense, and
    WriteError if it can't be written.
    """
    check_output(output, "caffemodel", [source])
    found = find(graph.read(source))
    layers: dict[str, Blobs] = {}
    for convolution in found.convolutions:
        # A damaged exponent can overflow float32; the error below names the layer.
        with np.errstate(over="ignore", invalid="ignore"):
            made = blobs(convolution, preprocessing)
        if not all(np.isfinite(blob).all() for arrays in made.values() for blob in arrays):
            text = "its values are too large for float32 once prepared for Caffe's input"
            found.problems.append(Diagnostic(text, layer=convolution.unit.layer))
        layers |= made
    if found.problems:
        raise GraphError(str(source), found.problems)
    types = {
        layer: {"bn": "BatchNorm", "scale": "Scale"}.get(layer.rsplit("/")[-1], "Convolution")
        for layer in layers
    }
    weights.write(output, name, layers, types)
    return Transfer(
        layers,
        len(found.convolutions),
        all(convolution.batch_norm for convolution in found.convolutions),
        tuple(found.warnings),
    )
