"""A Caffe network as data: layers in order, every value named once, weights attached."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from convert.caffe import caffe_pb2


@dataclass(frozen=True)
class Layer:
    """One layer of a network, in the current (V2) form whatever the file's form was.

    `bottoms` and `tops` are value names: a layer that Caffe runs in place gets a top of its own
    (`Conv@Conv/bn`), and only the last version of a blob keeps the plain name, so that each value
    is made once. `blobs` are float32 arrays in the shapes of the weights file.
    """

    name: str
    type: str
    line: int
    """The line of the prototxt on which the layer starts, 1-based."""
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    parameter: caffe_pb2.LayerParameter
    blobs: tuple[NDArray[np.float32], ...] = ()


@dataclass(frozen=True)
class Network:
    """Layers in the order Caffe runs them, for one phase."""

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    """Shapes [batch, channels, height, width] of the network's inputs, as the prototxt gives them."""
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...] = field(default=())
    """Tops that no layer consumes, in order."""
