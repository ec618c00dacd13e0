"""Families: the output of a convolution, with all that is made of each of its channels alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from convert.graph import GraphBuilder, Node

_ACTIVATIONS = frozenset(["Clip", "LeakyRelu", "PRelu", "Relu"])
"""Functions of one element that the channels of a convolution go through."""


@dataclass
class Family:
    """The output of a convolution, and what elementwise nodes and depthwise ones make of it.

    All its values have the same channels.
    """

    root: Node
    """The convolution."""
    values: list[str]
    nodes: list[Node] = field(default_factory=list)
    """The nodes between its values."""


def families(graph: GraphBuilder, nodes: Sequence[Node]) -> list[Family]:
    """The families in the order of their convolutions."""
    found: list[Family] = []
    of: dict[str, Family] = {}
    for node in nodes:
        if is_dense(graph, node):
            found.append(Family(node, [node.outputs[0]]))
            of[node.outputs[0]] = found[-1]
        elif keeps_channels(graph, node) and node.inputs[0] in of:
            family = of[node.outputs[0]] = of[node.inputs[0]]
            family.values.append(node.outputs[0])
            family.nodes.append(node)
    return found


def is_dense(graph: GraphBuilder, node: Node) -> bool:
    """Whether it is a convolution without groups, whose weights are constants."""
    return _has_weights(graph, node) and node.attributes.get("group", 1) == 1


def keeps_channels(graph: GraphBuilder, node: Node) -> bool:
    """Whether each output channel depends on the input channel of the same number alone."""
    if node.operator in _ACTIVATIONS:
        return _has_constants(graph, node)
    if not _has_weights(graph, node):
        return False
    channels: int = graph.values[node.inputs[0]].static(1)
    outputs: int = graph.values[node.inputs[1]].static(0)
    return channels == int(node.attributes.get("group", 1)) == outputs


def _has_weights(graph: GraphBuilder, node: Node) -> bool:
    if node.operator != "Conv" or not _has_constants(graph, node):
        return False
    kernels = graph.values[node.inputs[1]].constant
    # Zero times infinity is not a number.
    return kernels is not None and bool(np.isfinite(kernels).all())


def _has_constants(graph: GraphBuilder, node: Node) -> bool:
    """Whether all inputs but the first are given, as constants."""
    return all(name and graph.values[name].constant is not None for name in node.inputs[1:])
