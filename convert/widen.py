"""Widening: a convolution with few outputs becomes a wide 1x1 convolution and a sum of its taps.

    t[o, i, j][y, x]  = sum over c of w[o, c, i, j] x[c, y, x]              1x1, k * k times as wide
    out[o][y, x]      = b[o] + sum over i, j of t[o, i, j][y + i, x + j]     k x k, one group for o

Runtimes compute blocks of output channels (onnxruntime: 8 or 16), to which they pad. So a 3x3
convolution with 6 outputs costs as much as one with 16. The 1x1 convolution has 54 outputs, padded
to 64 instead of 9 times 16. SSD's heads on many channels are an example. The sums have another
order, so results differ by rounding.
"""

import math

import numpy as np
import onnx

from convert.graph import GraphBuilder, Node, Value

BLOCK = 16
"""Output channels that a runtime computes together."""
LESS = 0.6
"""A convolution is widened if it takes at most this fraction of the multiplications."""
LEAST_CHANNELS = 128
"""With fewer input channels, the sum of the taps costs what the 1x1 convolution saves."""
_SUM = "/taps/sum"
"""Part of the names of the weights that sum taps."""


def widen(graph: GraphBuilder) -> None:
    """Widen convolutions of the graph, once its outputs are declared and constants are folded.

    Every value keeps its name, and its content up to rounding.
    """
    made: list[Node] = []
    for node in graph.needed_nodes():
        made += _widened(graph, node) if _gains(graph, node) else [node]
    graph.nodes = made


def sum_weights(graph: onnx.GraphProto) -> frozenset[str]:
    """The names of the weights that only add the taps of widened convolutions."""
    return frozenset(each.name for each in graph.initializer if _SUM in each.name)


def _gains(graph: GraphBuilder, node: Node) -> bool:
    kernels = graph.values[node.inputs[1]].constant if node.operator == "Conv" else None
    if kernels is None:
        return False
    channels, inputs, *kernel = kernels.shape
    taps = math.prod(kernel)
    return (
        node.attributes.get("group", 1) == 1
        # With a stride, the 1x1 convolution would also compute what is skipped.
        and all(step == 1 for step in node.attributes.get("strides", ()))
        and inputs >= LEAST_CHANNELS
        and taps > 1
        and _padded(taps * channels) <= LESS * taps * _padded(channels)
        # The sum multiplies the other taps by zero, which makes infinity NaN.
        and bool(np.isfinite(kernels).all())
    )


def _padded(channels: int) -> int:
    return math.ceil(channels / BLOCK) * BLOCK


def _widened(graph: GraphBuilder, node: Node) -> list[Node]:
    source, weights, *bias = node.inputs
    taken, kept = graph.values[source], graph.values[node.outputs[0]]
    kernels = graph.values[weights].constant
    assert kernels is not None
    channels, inputs, *kernel = kernels.shape
    taps, ones = math.prod(kernel), [1] * len(kernel)
    # Channel o * taps + i is tap i of output o.
    points = np.moveaxis(kernels.reshape(channels, inputs, taps), 1, 2)
    wide = graph.constant(
        points.reshape(channels * taps, inputs, *ones), f"{kept.name}/taps/weight"
    )
    ones_at = np.eye(taps, dtype=np.float32).reshape(1, taps, *kernel)
    summing = graph.constant(np.repeat(ones_at, channels, axis=0), f"{kept.name}{_SUM}")
    name = graph.fresh(f"{kept.name}/taps")
    shape = (taken.shape[0], channels * taps, *taken.shape[2:])
    graph.values[name] = Value(name, shape, kept.dtype)
    return [
        Node("Conv", (source, wide.name), (name,), {"kernel_shape": ones}),
        Node(
            "Conv",
            (name, summing.name, *bias),
            node.outputs,
            {**node.attributes, "group": channels},
        ),
    ]
