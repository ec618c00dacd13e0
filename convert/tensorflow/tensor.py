"""Decodes one constant of a TensorFlow graph to a float32 array."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.caffe.blobs import times
from convert.tensorflow.graph_pb2 import (
    DT_BFLOAT16,
    DT_DOUBLE,
    DT_FLOAT,
    DT_HALF,
    DataType,
    NodeDef,
    TensorProto,
)
from geometry.arrays import F32

MAX_VALUES = 1 << 26
"""The largest number of values in one constant (256 MiB as float32). A single repeated value can't
fill the memory."""

_STORED: dict[int, np.dtype[Any]] = {
    DT_FLOAT: np.dtype("<f4"),
    DT_DOUBLE: np.dtype("<f8"),
    DT_HALF: np.dtype("<f2"),
    # NumPy has no bfloat16: its bits are the upper half of a float32's.
    DT_BFLOAT16: np.dtype("<u2"),
}


class TensorError(ValueError):
    """A constant is inconsistent or holds no weights; the message says why."""


def shape_of(node: NodeDef) -> tuple[int, ...]:
    """The shape of a Const node's value.

    Raises TensorError if the node has no value, or an unknown or negative dimension.
    """
    if "value" not in node.attr or not node.attr["value"].HasField("tensor"):
        raise TensorError("it has no value")
    shape = node.attr["value"].tensor.tensor_shape
    dimensions = tuple(dim.size for dim in shape.dim)
    if shape.unknown_rank or any(dimension < 0 for dimension in dimensions):
        raise TensorError("its shape is not fully known")
    return dimensions


def decode(node: NodeDef) -> F32:
    """The value of a Const node in its shape: DT_FLOAT, DT_DOUBLE, DT_HALF or DT_BFLOAT16.

    Elements are the bytes of `tensor_content`, or the values of `float_val`, `double_val` or
    `half_val`. The last of these values is repeated until the shape is full; without any value the
    elements are zeros (tensorflow/core/framework/tensor.cc, FromProtoField).

    Raises TensorError if type, count and shape don't match, or if a value is not finite.
    """
    shape = shape_of(node)
    tensor = node.attr["value"].tensor
    # Python's integers can't overflow, so a damaged shape can't give a plausible count.
    count = math.prod(shape)
    if count > MAX_VALUES:
        raise TensorError(f"its shape {times(shape)} has {count} values, more than any layer has")
    dtype = _STORED.get(tensor.dtype)
    if dtype is None:
        raise TensorError(
            f"its type is {_type_name(tensor.dtype)}; weights are DT_FLOAT, DT_DOUBLE, DT_HALF or "
            "DT_BFLOAT16"
        )
    stored = _from_bytes(tensor, dtype) if tensor.tensor_content else _from_values(tensor, dtype)
    if tensor.tensor_content or stored.size > count:
        if stored.size != count:
            raise TensorError(
                f"it has {stored.size} values where its shape {times(shape)} has {count}"
            )
    elif stored.size < count:
        last = stored[-1:] if stored.size else np.zeros(1, dtype)
        stored = np.concatenate([stored, np.broadcast_to(last, count - stored.size)])
    if tensor.dtype == DT_BFLOAT16:
        values = (stored.astype(np.uint32) << 16).view(np.float32)
    else:
        with np.errstate(over="ignore"):  # checked below
            values = stored.astype(np.float32)
    wrong = int(values.size - np.count_nonzero(np.isfinite(values)))
    if wrong:
        raise TensorError(f"{wrong} of its {values.size} values are infinite or not a number")
    return values.reshape(shape)


def _from_bytes(tensor: TensorProto, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = len(tensor.tensor_content)
    if size % dtype.itemsize:
        raise TensorError(
            f"its {size} bytes are not a whole number of {dtype.itemsize}-byte values"
        )
    return np.frombuffer(tensor.tensor_content, dtype)


def _from_values(tensor: TensorProto, dtype: np.dtype[Any]) -> NDArray[Any]:
    if tensor.dtype == DT_FLOAT:
        return np.array(tensor.float_val, dtype)
    if tensor.dtype == DT_DOUBLE:
        return np.array(tensor.double_val, dtype)
    bits = np.array(tensor.half_val, np.int64)
    if bits.size and not 0 <= bits.min() <= bits.max() < 1 << 16:
        raise TensorError("its half_val has values of more than 16 bits")
    return bits.astype(np.dtype("<u2")).view(dtype)


def _type_name(number: int) -> str:
    known = number in DataType.values()
    return DataType.Name(number) if known else f"TensorFlow's number {number}"
