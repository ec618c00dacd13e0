"""Writes a model to files, tensor by tensor, so that weights are never in memory twice.

A protobuf message can't exceed 2 GiB. Weights beyond that go into a second file, as ONNX's external
data. During verification, onnxruntime reads the weights from these files, through a model that
holds only their offsets.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto, helper

from convert.caffe.wire import header
from sfd.files import WriteError, create_beside, put, sha256, sync
from sfd.terminal import is_utf8

MAX_INLINE = (1 << 31) - (1 << 24)
"""The most bytes of weights within the model file; the rest of 2 GiB is left for the nodes."""
PLACED_BYTES = 4096
"""Tensors of at least this size are only in the file; smaller ones also in the model in memory."""
_ALIGNMENT = 4096
"""Alignment of tensors in a data file, so that runtimes can map them."""
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9


@dataclass(slots=True)
class StoredModel:
    """A model on disk under a temporary name, in the folder of its final name."""

    output: Path
    file: Path
    data: Path | None
    """The file of the weights; None if they are in `file`."""
    light: onnx.ModelProto
    """The model with its large tensors as external data in `data` or `file`."""

    @property
    def folder(self) -> Path:
        """The folder where onnxruntime finds the external data of `light`."""
        return self.file.parent

    @property
    def data_output(self) -> Path:
        """The final name of the weights file."""
        return data_path(self.output)

    def finish(self, metadata: Sequence[onnx.StringStringEntryProto]) -> str:
        """Append the properties, give the files their names, and return the sha256 of the model.

        Raises WriteError.
        """
        try:
            with self.file.open("ab") as file:
                # A message may be split: appended fields are merged.
                file.write(onnx.ModelProto(metadata_props=metadata).SerializeToString())
                sync(file)
            digest = sha256(self.file)
            if self.data is not None:
                put(self.data, self.data_output)
            put(self.file, self.output)
        except OSError as error:
            raise WriteError(f"can't write {self.output}: {error.strerror or error}") from error
        return digest


def data_path(output: Path) -> Path:
    """The file that holds a model's weights if they exceed MAX_INLINE."""
    return output.with_name(f"{output.name}.data")


@contextmanager
def stored(model: onnx.ModelProto, output: Path) -> Iterator[StoredModel]:
    """Write a model under a temporary name. Without `finish`, it is deleted when the block ends.

    The model must be without metadata. Raises WriteError.
    """
    temporary: list[Path] = []
    try:
        store = _write(model, output, temporary)
        del model  # otherwise this frame would keep the weights in memory
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
                sync(file)
                return StoredModel(output, path, None, light)
            _check_name(data_path(output))
            data, data_temporary = _create(data_path(output), temporary)
            with data:
                light = _write_data(model, data, data_temporary.name)
                sync(data)
            file.write(_relocated(light, data_path(output).name).SerializeToString())
            sync(file)
            return StoredModel(output, path, data_temporary, light)
    except OSError as error:
        raise WriteError(f"can't write {output}: {error.strerror or error}") from error


def _write_whole(model: onnx.ModelProto, file: BinaryIO, location: str) -> onnx.ModelProto:
    """Write the model as SerializeToString would, and return it without its large tensors."""
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
    """Write only the large tensors, and return the model with their offsets."""
    light = _without_tensors(model)
    for tensor in model.graph.initializer:
        file.write(bytes(-file.tell() % _ALIGNMENT))
        _place(light.graph.initializer.add(), tensor, location, file.tell())
        if _size(tensor) >= PLACED_BYTES:
            file.write(tensor.raw_data)
    return light


def _place(light: TensorProto, tensor: TensorProto, location: str, offset: int) -> None:
    """Fill `light` with the tensor. Unless it is small, its content is at `offset` of the file."""
    length = _size(tensor)
    if length < PLACED_BYTES:
        light.CopyFrom(tensor)
        return
    light.CopyFrom(_without_content(tensor))
    light.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        light.external_data.add(key=key, value=str(value))


def _size(tensor: TensorProto) -> int:
    """The bytes of a tensor's `raw_data`, without the copy that Python's attribute makes."""
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
    # The name becomes text of a message, and not every name of a file is UTF-8.
    file, name = create_beside(path, "model")
    temporary.append(name)
    return file, name


def _check_name(data: Path) -> None:
    """Raise WriteError for the name of a weights file that the model can't hold."""
    if not is_utf8(data.name):
        raise WriteError(
            f"can't write {data}: the model must name this file of its weights, and the name is "
            "not UTF-8: choose another"
        )
