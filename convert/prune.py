"""Pruning: channels that are always zero, and channels that nothing reads, are removed.

A convolution's output channel is constant if all its weights for the channels that vary are zero.
Its value is then its bias plus what the constant channels of the input add, or 0 if that is
negative and a ReLU follows. Networks that were pruned by setting weights to zero have such
channels. The convolution that reads them does not need them: a channel of zeros adds nothing to its
sums, and another constant adds the same to each sum, so it becomes part of the bias. Channels to
which every reader gives zero weights are removed too, and so on backwards. The number that stays is
rounded up to whole blocks of channels, because onnxruntime is slow with other numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from convert.families import families, is_dense, keeps_channels
from convert.graph import Array, GraphBuilder, Node, Value, readers_of
from convert.widen import BLOCK
from geometry.arrays import F64, Bools


def prune(graph: GraphBuilder) -> None:
    """Remove channels of the graph, once its outputs are declared and constants are folded.

    The outputs keep their names, and their content up to rounding. Values that lose channels get
    other names. Like `convert.widen`, this assumes that no input is infinite.
    """
    nodes = graph.needed_nodes()
    readers = readers_of(nodes)
    found = families(graph, nodes)
    constants = _constants(graph, nodes)
    kept: dict[str, Bools] = {}
    # Backwards, so that it is known which outputs of its readers a channel still matters for.
    for family in reversed(found):
        needed = np.zeros(graph.values[family.values[0]].static(1), bool)
        for name in family.values:
            if name in graph.outputs:
                needed[:] = True
            for reader in readers[name]:
                if not any(reader is node for node in family.nodes):
                    needed |= _needed(graph, reader, name, constants, kept)
        _fill(needed)
        kept |= dict.fromkeys(family.values, needed)
    kept = {name: mask for name, mask in kept.items() if not mask.all()}
    names = {name: _smaller(graph, name, mask) for name, mask in kept.items()}
    if kept:
        graph.nodes = [_pruned(graph, node, names, kept, constants) for node in nodes]


def _constants(graph: GraphBuilder, nodes: Sequence[Node]) -> dict[str, F64]:
    """For values with constant channels: the constant of each channel, NaN where it varies."""
    found: dict[str, F64] = {}
    for node in nodes:
        if is_dense(graph, node) or (node.operator == "Conv" and keeps_channels(graph, node)):
            source, weighs = found.get(node.inputs[0]), _weighs(graph, node)
            channels = graph.values[node.inputs[0]].static(1)
            varies = _varies(source, channels, padded=_padded(node))
            if not is_dense(graph, node):
                varies = varies[:, None]
            fixed = ~(weighs & varies).any(axis=1)
            content = _bias(graph, node)
            if source is not None:
                content += _shift(_weights(graph, node), source)
        elif node.inputs and node.inputs[0] in found and keeps_channels(graph, node):
            before = found[node.inputs[0]]
            fixed, content = ~np.isnan(before), _activated(graph, node, before)
        else:
            continue
        if fixed.any():
            found[node.outputs[0]] = np.where(fixed, content, np.nan)
    return found


def _varies(constants: F64 | None, channels: int, *, padded: bool) -> Bools:
    """Which channels of a convolution's input are not the same number everywhere.

    Where zeros are added around the input, only zero is.
    """
    if constants is None:
        return np.ones(channels, bool)
    return (constants != 0) if padded else np.isnan(constants)


def _shift(weights: F64, constants: F64) -> F64:
    """What the constant channels of the input add to each output."""
    sums, constants = weights.reshape(*weights.shape[:2], -1).sum(axis=2), np.nan_to_num(constants)
    if weights.shape[1] == len(constants):
        return np.asarray(sums @ constants)
    # A depthwise convolution has one input channel for each output.
    return np.asarray(sums[:, 0] * constants)


def _fill(needed: Bools) -> None:
    """Keep further channels, so that whole blocks are kept, and at least one."""
    count = int(needed.sum())
    filled = max(math.ceil(count / BLOCK), 1) * BLOCK
    needed[np.flatnonzero(~needed)[: filled - count]] = True


def _needed(
    graph: GraphBuilder,
    reader: Node,
    name: str,
    constants: Mapping[str, F64],
    kept: Mapping[str, Bools],
) -> Bools:
    """The channels of a value that a node outside its family needs."""
    channels = graph.values[name].static(1)
    if not is_dense(graph, reader) or reader.inputs[0] != name:
        return np.ones(channels, bool)
    weighs = _weighs(graph, reader)[kept[reader.outputs[0]]].any(axis=0)
    return np.asarray(weighs & _varies(constants.get(name), channels, padded=_padded(reader)))


def _pruned(
    graph: GraphBuilder,
    node: Node,
    names: Mapping[str, str],
    kept: Mapping[str, Bools],
    constants: Mapping[str, F64],
) -> Node:
    """The node without the channels that are not kept; `names` has the new names of values."""
    source, output = node.inputs[0] if node.inputs else "", node.outputs[0]
    if source not in kept and output not in kept:
        return node
    inputs = [names.get(source, source), *node.inputs[1:]]
    attributes = dict(node.attributes)
    outputs = kept.get(output, np.ones(graph.values[output].static(1), bool))
    if node.operator == "Conv":
        weights, bias = _weights(graph, node), _bias(graph, node)
        if is_dense(graph, node):
            taken = kept.get(source, np.ones(weights.shape[1], bool))
            if not _padded(node) and source in constants:
                bias += _shift(weights, np.where(taken, np.nan, constants[source]))
            weights = weights[:, taken]
        else:
            attributes["group"] = int(outputs.sum())
        weights, bias = weights[outputs], bias[outputs]
        inputs[1] = graph.constant(weights, f"{output}/pruned/weight").name
        if len(inputs) > 2 or bias.any():
            inputs[2:] = [graph.constant(bias, f"{output}/pruned/bias").name]
    elif node.operator == "PRelu":
        slope = _content(graph, inputs[1])
        if slope.size > 1:
            inputs[1] = graph.constant(slope[outputs], f"{output}/pruned/slope").name
    return replace(
        node,
        inputs=tuple(inputs),
        outputs=(names.get(output, output),),
        attributes=attributes,
    )


def _smaller(graph: GraphBuilder, name: str, kept: Bools) -> str:
    """Declare a value with the kept channels of another; returns its name."""
    value = graph.values[name]
    shape = (value.shape[0], int(kept.sum()), *value.shape[2:])
    smaller = Value(graph.fresh(f"{name}/pruned"), shape, value.dtype)
    graph.values[smaller.name] = smaller
    return smaller.name


def _padded(node: Node) -> bool:
    return any(node.attributes.get("pads", ()))


def _weights(graph: GraphBuilder, node: Node) -> F64:
    """[outputs, inputs / groups, ...]."""
    return _content(graph, node.inputs[1])


def _weighs(graph: GraphBuilder, node: Node) -> Bools:
    """[outputs, inputs / groups]: where some weight is not zero."""
    kernels = graph.values[node.inputs[1]].constant
    assert kernels is not None
    return np.asarray((kernels != 0).any(axis=tuple(range(2, kernels.ndim))))


def _bias(graph: GraphBuilder, node: Node) -> F64:
    """A copy of the biases, or zeros."""
    if len(node.inputs) > 2:
        return _content(graph, node.inputs[2]).copy()
    return np.zeros(graph.values[node.inputs[1]].static(0))


def _activated(graph: GraphBuilder, node: Node, before: F64) -> F64:
    """What an activation makes of the constants of channels."""
    arguments = [_content(graph, name) for name in node.inputs[1:]]
    if node.operator == "Clip":
        return np.asarray(np.clip(before, *arguments))
    slope = np.zeros(1)
    if node.operator == "PRelu":
        slope = arguments[0].reshape(-1)
    elif node.operator == "LeakyRelu":
        slope = np.asarray(node.attributes["alpha"])
    return np.asarray(np.where(before < 0, slope * before, before))


def _content(graph: GraphBuilder, name: str) -> F64:
    constant: Array | None = graph.values[name].constant
    assert constant is not None
    return constant.astype(np.float64)
