"""A model as files: written tensor by tensor, so that weights are never in memory twice.

A protobuf message can't exceed 2 GiB. Weights beyond that go into a second file, as ONNX's external
data. While a conversion is verified, onnxruntime reads the weights of either kind of file from
there, through a model that holds only their places.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto, helper

from convert.caffe.wire import header
from sfd.files import WriteError

MAX_INLINE = (1 << 31) - (1 << 24)
"""How many bytes of weights a file holds itself; the rest is left for the nodes."""
PLACED_BYTES = 4096
"""Tensors from this size on stay in the file; smaller ones are part of the model in memory too."""
_ALIGNMENT = 4096
"""Of tensors in a data file, so that runtimes can map them."""
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


@dataclass(slots=True)
class StoredModel:
    """A model on disk under a temporary name, beside where it is to be."""

    output: Path
    file: Path
    data: Path | None
    """The file of the weights; None where they are in `file`."""
    light: onnx.ModelProto
    """The model whose large tensors are external data: places in `data` or in `file`."""

    @property
    def folder(self) -> Path:
        """Where onnxruntime finds the external data of `light`."""
        return self.file.parent

    @property
    def data_output(self) -> Path:
        """The name that the file of weights will have."""
        return data_path(self.output)

    def finish(self, metadata: Sequence[onnx.StringStringEntryProto]) -> str:
        """Append the properties, give the files their names, and return the sha256 of the model.

        Raises WriteError.
        """
        try:
            with self.file.open("ab") as file:
                # Fields of a message may come in pieces.
                file.write(onnx.ModelProto(metadata_props=metadata).SerializeToString())
                _sync(file)
            with self.file.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if self.data is not None:
                self.data.replace(self.data_output)
            self.file.replace(self.output)
        except OSError as error:
            raise WriteError(f"can't write {self.output}: {error.strerror or error}") from error
        return digest


def data_path(output: Path) -> Path:
    """The file beside a model that has its weights if they exceed MAX_INLINE."""
    return output.with_name(f"{output.name}.data")


@contextmanager
def stored(model: onnx.ModelProto, output: Path) -> Iterator[StoredModel]:
    """Write a model beside `output`. Without `finish` nothing is left when the block ends.

    The model must be without metadata. Raises WriteError.
    """
    temporary: list[Path] = []
    try:
        store = _write(model, output, temporary)
        del model  # else this frame would keep the weights in memory
        yield store
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


def _write(model: onnx.ModelProto, output: Path, temporary: list[Path]) -> StoredModel:
    try:
        size = sum(map(_size, model.graph.initializer))
        file, path = _create(output, temporary)
        with file:
            if size <= MAX_INLINE:
                light = _write_whole(model, file, path.name)
                _sync(file)
                return StoredModel(output, path, None, light)
            data, data_temporary = _create(data_path(output), temporary)
            with data:
                light = _write_data(model, data, data_temporary.name)
                _sync(data)
            file.write(_relocated(light, data_path(output).name).SerializeToString())
            _sync(file)
            return StoredModel(output, path, data_temporary, light)
    except OSError as error:
        raise WriteError(f"can't write {output}: {error.strerror or error}") from error


def _write_whole(model: onnx.ModelProto, file: BinaryIO, location: str) -> onnx.ModelProto:
    """Write what SerializeToString would give, and return the model without its large tensors."""
    graph = model.graph
    before = onnx.GraphProto(node=graph.node, name=graph.name).SerializeToString()
    after = onnx.GraphProto(
        input=graph.input, output=graph.output, value_info=graph.value_info
    ).SerializeToString()
    heads: list[bytes] = []
    for tensor in graph.initializer:
        length = _size(tensor)
        head = _without_content(tensor).SerializeToString() + header(_RAW_DATA, length)
        heads.append(header(_INITIALIZER, len(head) + length) + head)
    total = len(before) + len(after)
    total += sum(map(len, heads)) + sum(map(_size, graph.initializer))
    start = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    file.write(start.SerializeToString() + header(_GRAPH, total) + before)
    light = _without_tensors(model)
    for tensor, head in zip(graph.initializer, heads, strict=True):
        file.write(head)
        _place(light.graph.initializer.add(), tensor, location, file.tell())
        file.write(tensor.raw_data)
    end = onnx.ModelProto(opset_import=model.opset_import)
    file.write(after + end.SerializeToString())
    return light


def _write_data(model: onnx.ModelProto, file: BinaryIO, location: str) -> onnx.ModelProto:
    """Write large tensors alone, and return the model with their places."""
    light = _without_tensors(model)
    for tensor in model.graph.initializer:
        file.write(bytes(-file.tell() % _ALIGNMENT))
        _place(light.graph.initializer.add(), tensor, location, file.tell())
        if _size(tensor) >= PLACED_BYTES:
            file.write(tensor.raw_data)
    return light


def _place(light: TensorProto, tensor: TensorProto, location: str, offset: int) -> None:
    """Make `light` the tensor, whose content is at `offset` of a file unless it is small."""
    length = _size(tensor)
    if length < PLACED_BYTES:
        light.CopyFrom(tensor)
        return
    light.CopyFrom(_without_content(tensor))
    light.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        light.external_data.add(key=key, value=str(value))


def _size(tensor: TensorProto) -> int:
    """The bytes of a tensor's `raw_data`, without the copy that Python would get of it."""
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _without_content(tensor: TensorProto) -> TensorProto:
    return TensorProto(dims=tensor.dims, data_type=tensor.data_type, name=tensor.name)


def _without_tensors(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    return onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        opset_import=model.opset_import,
        graph=onnx.GraphProto(
            node=graph.node,
            name=graph.name,
            input=graph.input,
            output=graph.output,
            value_info=graph.value_info,
        ),
    )


def _relocated(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    return moved


def _create(path: Path, temporary: list[Path]) -> tuple[BinaryIO, Path]:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary.append(Path(name))
    return os.fdopen(handle, "wb"), Path(name)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    # mkstemp's 0600 would keep a service that runs as another user from reading it.
    os.fchmod(file.fileno(), 0o644)
