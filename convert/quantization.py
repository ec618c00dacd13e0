"""Makes an int8 file of a detector's ONNX file, with onnxruntime's own quantization.

    model.onnx -> value ranges on example images -> QuantizeLinear and DequantizeLinear around each
    convolution, activation and sum, up to the heads -> model.int8.onnx

The weights are signed and have a scale for each channel; the activations are unsigned. onnxruntime
and OpenVINO both compute such a file in int8. The heads, which are the last convolutions, and
everything behind them stay in float32: int8 is too coarse for the coordinates of boxes.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from convert.widen import sum_weights
from geometry.arrays import U8
from sfd.errors import SfdError
from sfd.files import scratch

METHOD = (
    f"QDQ, MinMax, weights per channel, heads in float32, onnxruntime {onnxruntime.__version__}"
)
OPERATORS = ("Conv", "Relu", "Add")
"""What is quantized. Without the sums between blocks, each of them would be a detour to float."""


class QuantizationError(SfdError):
    """The network cannot be quantized."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands one image after the other to onnxruntime."""

    def __init__(self, name: str, images: Iterable[U8]) -> None:
        self._name = name
        self._images = iter(images)

    def get_next(self) -> dict[str, U8] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image[None]}


def quantize(source: Path, images: Iterable[U8]) -> bytes:
    """An int8 file of the network in `source`, calibrated on `images` [height, width, channels].

    Raises QuantizationError for a network without a convolution before its heads.
    """
    model = onnx.load(source)
    kept = head_nodes(model.graph)
    if all(node.name in kept for node in model.graph.node if node.op_type == "Conv"):
        raise QuantizationError(f"{source}: has no convolution to quantize but its last ones")
    with scratch("quantize") as folder, _quietly():
        target = Path(folder) / "model.onnx"
        quantize_static(
            source,
            target,
            _Reader(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(kept),
            calibrate_method=CalibrationMethod.MinMax,
        )
        made = onnx.load(target)
    for entry in made.metadata_props:
        if entry.key == "sfd.verification":
            entry.value = "unverified: quantized to INT8"
    content: bytes = made.SerializeToString()
    return content


def head_nodes(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of the last convolutions, after which there is no other, and of all nodes behind.

    The sum of a widened convolution (`convert.widen`) is behind its 1x1 convolution.
    """
    sums = sum_weights(graph)
    before_a_convolution: set[str] = set()
    """The blobs on which a later convolution depends."""
    heads: set[str] = set()
    for node in reversed(graph.node):
        leads_on = any(output in before_a_convolution for output in node.output)
        is_convolution = node.op_type == "Conv" and node.input[1] not in sums
        if leads_on or is_convolution:
            before_a_convolution.update(node.input)
        if is_convolution and not leads_on:
            heads.add(node.name)
    behind: set[str] = set()
    for node in graph.node:
        if node.name in heads or any(name in behind for name in node.input):
            heads.add(node.name)
            behind.update(node.output)
    return frozenset(heads)


@contextmanager
def _quietly() -> Iterator[None]:
    """Hide the advice that onnxruntime logs on the root logger for every network."""

    def is_ours(record: logging.LogRecord) -> bool:
        return "pre-process" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_ours)
    try:
        yield
    finally:
        root.removeFilter(is_ours)
