"""Encodes and decodes tensors: JSON lists, or little-endian bytes in row-major order."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.errors import InferenceFailed, RequestError
from geometry.arrays import U8
from service.errors import InvalidRequest
from service.openinference.messages import InferenceRequest, InputTensor, OutputTensor
from service.uploads import decode_base64

DATATYPES: Mapping[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
}
"""The data types that are sent and accepted, except BYTES."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Received:
    """An input with its data, unless that is in the JSON."""

    tensor: InputTensor
    binary: memoryview | None
    elements: Sequence[bytes] | None = None
    """Those of BYTES, where they come one by one."""


def split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """A body as its JSON and the binary data after it.

    `header_length` is the header Inference-Header-Content-Length; without it all is JSON.
    """
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdecimal() and len(header_length) < 20):
        raise InvalidRequest("Inference-Header-Content-Length: must be a whole number")
    length = int(header_length)
    if length > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length: is {length}, but the body has {len(body)} bytes"
        )
    return body[:length], memoryview(body)[length:]


def assign(request: InferenceRequest, binary: memoryview) -> list[Received]:
    """Each input with its part of the binary data, which must fit exactly."""
    received = []
    for tensor in request.inputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            received.append(Received(tensor, None))
            continue
        if type(size) is not int or not 0 <= size <= len(binary):
            raise InvalidRequest(
                f"{tensor.name[:100]}: binary_data_size is {str(size)[:40]}, but {len(binary)} "
                "bytes are left (does Inference-Header-Content-Length say where the JSON ends?)"
            )
        received.append(Received(tensor, binary[:size]))
        binary = binary[size:]
    if len(binary):
        raise InvalidRequest(f"{len(binary)} bytes after the last tensor")
    return received


def files(received: Received) -> list[bytes | RequestError]:
    """The elements of a BYTES tensor; in JSON they are base64 text."""
    tensor = received.tensor
    count = _count(tensor)
    elements: list[bytes | RequestError]
    if received.elements is not None:
        elements = list(received.elements)
    elif received.binary is not None:
        elements = list(_elements(received.binary, tensor.name, count))
    else:
        texts = list(_flatten(_data(tensor)))
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest(f"{tensor.name}: data must be base64 text")
        elements = [decode_base64(text) for text in texts]
    if len(elements) != count:
        raise InvalidRequest(
            f"{tensor.name}: {len(elements)} elements for the shape {tensor.shape}"
        )
    return elements


def pixels(received: Received) -> U8:
    """A UINT8 tensor, in its shape."""
    tensor = received.tensor
    count = _count(tensor)
    if received.binary is not None:
        flat = np.frombuffer(received.binary, np.uint8)
    else:
        try:
            # As objects, because NumPy would make an array of text as wide as the longest element.
            given = np.asarray(_data(tensor), dtype=object).ravel()
        except ValueError:
            raise InvalidRequest(f"{tensor.name}: data is nested unevenly") from None
        if not all(type(value) is int and 0 <= value <= 255 for value in given):
            raise InvalidRequest(f"{tensor.name}: data must be whole numbers from 0 to 255")
        flat = given.astype(np.uint8)
    if flat.size != count:
        raise InvalidRequest(f"{tensor.name}: {flat.size} elements for the shape {tensor.shape}")
    return flat.reshape(tensor.shape)


def send(
    name: str, datatype: str, values: NDArray[Any], *, binary: bool
) -> tuple[OutputTensor, bytes]:
    """An output, and the binary data that follows the JSON; none for one in JSON."""
    values = np.ascontiguousarray(values, DATATYPES[datatype])
    shape = list(values.shape)
    if binary:
        data = values.tobytes()
        parameters = {"binary_data_size": len(data)}
        return OutputTensor(name=name, datatype=datatype, shape=shape, parameters=parameters), data
    if not np.isfinite(values).all():
        raise InferenceFailed(
            f"{name} has NaN or infinite values, which JSON cannot hold; ask for binary data"
        )
    return OutputTensor(
        name=name, datatype=datatype, shape=shape, data=values.ravel().tolist()
    ), b""


def _count(tensor: InputTensor) -> int:
    return math.prod(tensor.shape)


def _data(tensor: InputTensor) -> list[Any]:
    if tensor.data is None:
        raise InvalidRequest(f"{tensor.name}: has neither data nor a binary_data_size")
    return tensor.data


def _flatten(data: Sequence[Any]) -> list[Any]:
    """The elements of a list, or of a list of lists: [n] or [n, 1]."""
    return [item for each in data for item in (each if isinstance(each, list) else [each])]


def _elements(binary: memoryview, name: str, most: int) -> list[bytes]:
    """Elements, each after its length in 4 bytes. A few bytes could hold millions of elements."""
    elements: list[bytes] = []
    while len(binary):
        if len(elements) == most:
            raise InvalidRequest(f"{name}: {len(binary)} bytes after the {most} of its shape")
        if len(binary) < _LENGTH.size:
            raise InvalidRequest(f"{name}: ends inside an element's length")
        (length,) = _LENGTH.unpack_from(binary)
        binary = binary[_LENGTH.size :]
        if length > len(binary):
            raise InvalidRequest(f"{name}: an element of {length} bytes, {len(binary)} are left")
        elements.append(bytes(binary[:length]))
        binary = binary[length:]
    return elements
