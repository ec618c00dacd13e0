"""Merging: convolutions that read one value through the same window become one convolution.

SSD's heads are an example: `…_mbox_loc` and `…_mbox_conf` read one feature map. A convolution's
output channels do not depend on each other, so the merged one computes the same sums in the same
order. It is faster because runtimes work on blocks of channels (onnxruntime: 8 or 16), to which
each small convolution alone is padded, and because the input is read once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from convert.graph import Array, GraphBuilder, Node, Value, readers_of

# Runtimes fuse these into the convolution before them; a Split between would prevent it.
_FUSED = frozenset(
    ["Add", "Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid",
     "Sum", "Tanh"]
)  # fmt: skip


def merge(graph: GraphBuilder) -> None:
    """Merge convolutions of the graph, once its outputs are declared and constants are folded.

    Every value keeps its name and content. Convolutions with groups are not merged, nor those whose
    result goes to an activation or an addition.
    """
    nodes = graph.needed_nodes()
    readers = readers_of(nodes)
    groups: dict[object, list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        if _can_merge(graph, node, readers):
            groups[_window(graph, node)].append(index)
    replaced: dict[int, Sequence[Node]] = {}
    for indices in groups.values():
        if len(indices) > 1:
            first, *others = indices
            replaced[first] = _merged(graph, [nodes[index] for index in indices])
            replaced |= dict.fromkeys(others, ())
    graph.nodes = [
        made for index, node in enumerate(nodes) for made in replaced.get(index, (node,))
    ]


def _can_merge(graph: GraphBuilder, node: Node, readers: Mapping[str, Sequence[Node]]) -> bool:
    return (
        node.operator == "Conv"
        and node.attributes.get("group", 1) == 1
        and all(graph.values[name].constant is not None for name in node.inputs[1:])
        and not any(each.operator in _FUSED for each in readers[node.outputs[0]])
    )


def _window(graph: GraphBuilder, node: Node) -> object:
    """What two convolutions must share: input, kernel size, strides, dilations and padding."""
    attributes = sorted((key, repr(value)) for key, value in node.attributes.items())
    return node.inputs[0], graph.values[node.inputs[1]].shape[1:], tuple(attributes)


def _merged(graph: GraphBuilder, nodes: Sequence[Node]) -> Sequence[Node]:
    """One convolution with the output channels of all, and the Split that restores their names."""
    names = [node.outputs[0] for node in nodes]
    made = [graph.values[name] for name in names]
    channels = [value.static(1) for value in made]
    shape = (made[0].shape[0], sum(channels), *made[0].shape[2:])
    merged = Value(graph.fresh(f"{names[0]}/merged"), shape, made[0].dtype)
    graph.values[merged.name] = merged
    constants = [graph.constant(_joined(graph, nodes, 1), f"{merged.name}/weight")]
    if any(len(node.inputs) > 2 for node in nodes):
        constants.append(graph.constant(_joined(graph, nodes, 2), f"{merged.name}/bias"))
    sizes = graph.constant(np.asarray(channels, np.int64), f"{merged.name}/channels")
    inputs = (nodes[0].inputs[0], *(constant.name for constant in constants))
    return (
        replace(nodes[0], inputs=inputs, outputs=(merged.name,)),
        Node("Split", (merged.name, sizes.name), tuple(names), {"axis": 1}),
    )


def _joined(graph: GraphBuilder, nodes: Sequence[Node], position: int) -> Array:
    """The weights (1) or biases (2) of all nodes, along the output channels."""
    arrays = []
    for node in nodes:
        if position < len(node.inputs):
            array = graph.values[node.inputs[position]].constant
            assert array is not None
        else:
            array = np.zeros(graph.values[node.outputs[0]].static(1))
        arrays.append(array)
    return np.concatenate(arrays)
