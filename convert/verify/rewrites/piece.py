"""One layer of the copy that OpenCV gets, and the simplest such layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import Shape
from geometry.arrays import F32

Shapes = Mapping[str, Shape]
"""The shape of each blob of the network, by name."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One layer of the copy."""

    layer: caffe_pb2.LayerParameter
    blobs: tuple[F32, ...] = ()
    """Its blobs, where they differ from those of the file."""


def identity(name: str, bottom: str, top: str) -> Piece:
    """A Power layer that changes nothing."""
    return Piece(caffe_pb2.LayerParameter(name=name, type="Power", bottom=[bottom], top=[top]))


def power(name: str, bottom: str, top: str, *, scale: float = 1.0, shift: float = 0.0) -> Piece:
    """A Power layer: scale · x + shift."""
    message = caffe_pb2.LayerParameter(name=name, type="Power", bottom=[bottom], top=[top])
    message.power_param.scale, message.power_param.shift = scale, shift
    return Piece(message)


def apart(name: str, bottom: str, top: str, rank: int) -> Piece:
    """A Permute that changes nothing, over which OpenCV merges no layers."""
    message = caffe_pb2.LayerParameter(name=name, type="Permute", bottom=[bottom], top=[top])
    message.permute_param.order.extend(range(rank))
    return Piece(message)


Rewrite = Callable[[Layer, caffe_pb2.LayerParameter, Shapes], list[Piece]]
"""Writes a layer, given as a message without training fields, as pieces."""
