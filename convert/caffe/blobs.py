"""One blob of weights, from any encoding of Caffe and its forks to a float32 array."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.caffe import caffe_pb2
from convert.caffe.wire import header
from geometry.arrays import F32

MAX_AXES = 32
"""Caffe's kMaxBlobAxes (include/caffe/blob.hpp)."""

_RAW_TYPES: dict[int, np.dtype[Any]] = {
    caffe_pb2.DOUBLE: np.dtype("<f8"),
    caffe_pb2.FLOAT: np.dtype("<f4"),
    caffe_pb2.FLOAT16: np.dtype("<f2"),
}


class BlobError(ValueError):
    """A blob that contradicts itself; the message says how."""


def shape_of(blob: caffe_pb2.BlobProto) -> tuple[int, ...]:
    """The blob's shape as the file gives it: legacy dimensions win over `shape`.

    Source: Blob::FromProto and Blob::Reshape (src/caffe/blob.cpp).
    Raises BlobError for a negative dimension or more than 32 of them.
    """
    shape: tuple[int, ...]
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        shape = (blob.num, blob.channels, blob.height, blob.width)
    else:
        shape = tuple(blob.shape.dim)
    if len(shape) > MAX_AXES:
        raise BlobError(f"its shape has {len(shape)} dimensions; Caffe allows {MAX_AXES}")
    if any(dimension < 0 for dimension in shape):
        raise BlobError(f"its shape {times(shape)} has a negative dimension")
    return shape


def decode(blob: caffe_pb2.BlobProto, data: F32 | None = None) -> F32:
    """The blob's values as a float32 array in the shape that the file gives.

    `data` stands for the field of that name where convert.caffe.wire has cut it out.

    Values come from `raw_data` (NVIDIA Caffe: doubles, floats or halves, little-endian), else from
    `double_data`, else from `data`. Nothing is allocated before the count is known to fit.

    Raises BlobError where count and shape disagree, raw bytes are of no such type, or a value is
    not finite (a diverged training or a damaged file: no output of the network would be usable).
    """
    shape = shape_of(blob)
    if blob.HasField("raw_data"):
        values = _raw_values(blob)
    elif blob.double_data:
        values = np.array(blob.double_data, dtype=np.float64)
    elif data is not None:
        values = data
    else:
        values = np.array(blob.data, dtype=np.float32)
    # In Python's integers, the product of a damaged shape can't overflow into a plausible count.
    count = math.prod(shape)
    if values.size != count:
        raise BlobError(f"it has {values.size} values where its shape {times(shape)} has {count}")
    with np.errstate(over="ignore"):
        array = values if values is data else values.astype(np.float32)
    wrong = int(array.size - np.count_nonzero(np.isfinite(array)))
    if wrong:
        raise BlobError(f"{wrong} of its {array.size} values are infinite or NaN")
    return array.reshape(shape)


def encode(array: F32) -> caffe_pb2.BlobProto:
    """The blob that Caffe itself writes for a float32 array: `shape` and packed `data`."""
    content = np.asarray(array, "<f4").tobytes()
    shape = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=array.shape)).SerializeToString()
    # A list of Python's floats would take eight times the memory.
    return caffe_pb2.BlobProto.FromString(shape + header(5, len(content)) + content)


def _raw_values(blob: caffe_pb2.BlobProto) -> NDArray[Any]:
    # proto2 gives an absent enum its first value, DOUBLE, as NVIDIA Caffe reads it too.
    kind = _RAW_TYPES.get(blob.raw_data_type)
    if kind is None:
        raise BlobError("its raw_data holds integers; weights must be DOUBLE, FLOAT or FLOAT16")
    if len(blob.raw_data) % kind.itemsize:
        size = f"{len(blob.raw_data)} bytes of raw_data"
        raise BlobError(f"its {size} are not a multiple of {kind.itemsize}, the size of a value")
    return np.frombuffer(blob.raw_data, dtype=kind)


def times(shape: Sequence[int]) -> str:
    """A shape as messages show it."""
    return "×".join(map(str, shape)) or "()"
