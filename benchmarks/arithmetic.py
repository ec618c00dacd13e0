"""Counts the parameters and the multiply-accumulates of an ONNX file."""

from dataclasses import dataclass
from math import prod
from typing import Any

import onnx
import onnxruntime
from onnx import helper

WEIGHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that multiply by weights. Others cost little beside them."""
AFFINE = ("BatchNormalization", "PRelu")
"""Operators with parameters whose multiplications are not counted."""


@dataclass(frozen=True)
class Size:
    """The size of a network."""

    parameters: int
    macs: int
    """Multiply-accumulates for one image."""


def size(model: onnx.ModelProto, feed: dict[str, Any]) -> Size:
    """The size of a network for the inputs `feed`, of one image.

    The network runs once, because the shapes of a dynamic file are only known then.
    """
    own = onnx.ModelProto()
    own.CopyFrom(model)
    weights = {each.name: tuple(each.dims) for each in own.graph.initializer}
    nodes = [each for each in own.graph.node if each.op_type in WEIGHED]
    known = {each.name for each in own.graph.output}
    wanted = {name for node in nodes for name in (node.input[0], node.output[0])}
    wanted -= {*weights, *feed}
    own.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in sorted(wanted - known)
    )
    session = onnxruntime.InferenceSession(
        own.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    shapes = dict(zip(names, (each.shape for each in session.run(names, feed)), strict=True))
    shapes |= {name: value.shape for name, value in feed.items()}
    macs = sum(_macs(node, shapes, weights) for node in nodes if node.input[1] in weights)
    named = {
        name
        for node in own.graph.node
        if node.op_type in (*WEIGHED, *AFFINE)
        for name in node.input[1:]
    }
    return Size(sum(prod(weights[name]) for name in named & set(weights)), macs)


def _macs(
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...]],
    weights: dict[str, tuple[int, ...]],
) -> int:
    kernel = weights[node.input[1]]
    if node.op_type == "Conv":
        # [outputs, inputs / group, height, width]: each output pixel sees one kernel.
        return prod(shapes[node.output[0]]) * prod(kernel[1:])
    if node.op_type == "ConvTranspose":
        # [inputs, outputs / group, height, width]: each input pixel is spread by one kernel.
        return prod(shapes[node.input[0]]) * prod(kernel[1:])
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
