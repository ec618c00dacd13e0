"""Partitioning: a wide value between convolutions is computed in parts, which caches hold better.

    wide = activation(expand(x));  out = project(wide)

becomes, for one part of the channels of `wide` after the other,

    part_i = activation(expand_i(x));  out_i = out_(i-1) + project_i(part_i)

A channel of `wide` depends on no other one, also behind a depthwise convolution, and `project` adds
over channels. In MobileNet-V2's inverted residuals `wide` has several megabytes, which a processor
writes to its memory and reads back once for each block of outputs. The sums have another order, so
results differ by rounding.

This is for processors with caches, and without AVX-512 or with a small cache for each core
(docs/convert.md). An accelerator would run many small convolutions instead of a few large ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from convert.families import Family, families, is_dense
from convert.graph import Array, GraphBuilder, Node, Value, readers_of
from convert.widen import BLOCK

PART_BYTES = 800_000
"""The most that a part takes, unless MOST_CHANNELS take more. Of 0.5 to 3.4 MB, 0.8 MB was fastest
on a processor with 512 KiB of cache for each core and 32 MiB for all."""
MOST_CHANNELS = 2 * BLOCK
"""The most channels of a part whose channels are large. With fewer channels there are more parts,
and each is added to all outputs of `project`."""
MOST_OUTPUTS = 0.5
"""A value is partitioned if the convolutions that read it make at most this fraction of its
elements: each part reads and writes those again."""


def wide_values(graph: GraphBuilder) -> dict[str, tuple[int, ...]]:
    """The values that are worth partitioning, with the channels of each of their parts.

    They are named by the convolutions that make them. Call it once the graph's outputs are declared
    and constants are folded.
    """
    nodes = graph.needed_nodes()
    readers = readers_of(nodes)
    found: dict[str, tuple[int, ...]] = {}
    reading: set[str] = set()
    for family in families(graph, nodes):
        root = family.root.outputs[0]
        outside = _outside(family, readers)
        # A convolution that reads parts does not make parts.
        if root not in reading and _can_be_split(graph, family, outside):
            sizes = _sizes(graph, family)
            made = sum(_elements(graph, reader.outputs[0]) for reader in outside)
            if len(sizes) > 1 and made <= MOST_OUTPUTS * _largest(graph, family):
                found[root] = sizes
                reading.update(reader.outputs[0] for reader in outside)
    return found


def partition(graph: GraphBuilder, parts: Mapping[str, Sequence[int]]) -> None:
    """Compute values in parts, as `wide_values` names them for this graph.

    The parts may also be those for the same network with an input of another size. Every other
    value keeps its name, and its content up to rounding.
    """
    nodes = graph.needed_nodes()
    readers = readers_of(nodes)
    wide = {
        family.root.outputs[0]: _Wide(
            family, _outside(family, readers), parts[family.root.outputs[0]]
        )
        for family in families(graph, nodes)
        if family.root.outputs[0] in parts
    }
    taken = {
        node.outputs[0] for each in wide.values() for node in (*each.family.nodes, *each.readers)
    }
    partitioner = _Partitioner(graph, readers)
    for node in nodes:
        if node.outputs[0] in wide:
            partitioner.partition(wide[node.outputs[0]])
        elif node.outputs[0] not in taken:
            partitioner.keep(node)
    graph.nodes = partitioner.nodes


@dataclass(frozen=True)
class _Wide:
    """A family whose channels are computed in parts."""

    family: Family
    readers: Sequence[Node]
    """The convolutions outside the family that read it."""
    sizes: Sequence[int]
    """Channels of each part."""


def _outside(family: Family, readers: Mapping[str, Sequence[Node]]) -> list[Node]:
    """The nodes outside a family that read it."""
    inner = {node.outputs[0] for node in family.nodes}
    return [
        reader
        for name in family.values
        for reader in readers[name]
        if reader.outputs[0] not in inner
    ]


def _can_be_split(graph: GraphBuilder, family: Family, outside: Sequence[Node]) -> bool:
    """Whether only convolutions that add over its channels read a family."""
    names = set(family.values)
    return (
        bool(outside)
        and names.isdisjoint(graph.outputs)
        and all(is_dense(graph, reader) and reader.inputs[0] in names for reader in outside)
    )


def _sizes(graph: GraphBuilder, family: Family) -> tuple[int, ...]:
    """Channels of each part: whole blocks, except in the last."""
    channels = graph.values[family.values[0]].static(1)
    of_channel = 4 * _largest(graph, family) // channels
    most = max(PART_BYTES // of_channel // BLOCK * BLOCK, MOST_CHANNELS)
    count, blocks = math.ceil(channels / most), math.ceil(channels / BLOCK)
    ends = [min(blocks * index // count * BLOCK, channels) for index in range(count + 1)]
    ends[-1] = channels
    return tuple(end - start for start, end in pairwise(ends))


def _largest(graph: GraphBuilder, family: Family) -> int:
    return max(_elements(graph, name) for name in family.values)


def _elements(graph: GraphBuilder, name: str) -> int:
    """Elements of a value for one image."""
    return math.prod(dim for dim in graph.values[name].shape[1:] if isinstance(dim, int))


class _Partitioner:
    """Makes the nodes of a partitioned graph, in an order in which each part is used at once."""

    def __init__(self, graph: GraphBuilder, readers: Mapping[str, Sequence[Node]]) -> None:
        self.graph = graph
        self.readers = readers
        self.nodes: list[Node] = []
        self._made = set(graph.inputs)
        """The values that the nodes make, and the inputs."""

    def keep(self, node: Node) -> None:
        """Take over a node, unless it is an addition that a sum of parts has replaced."""
        if not self._made.issuperset(node.outputs):
            self._add(node)

    def partition(self, wide: _Wide) -> None:
        """Make the parts of a family, and what its readers make of them."""
        sums = [_Sum.of(self.graph, reader, self._addition(reader)) for reader in wide.readers]
        start = 0
        for number, size in enumerate(wide.sizes, start=1):
            channels = slice(start, start := start + size)
            parts: dict[str, str] = {}
            for node in (wide.family.root, *wide.family.nodes):
                source = parts.get(node.inputs[0], node.inputs[0])
                parts[node.outputs[0]] = self._part(node, source, channels, number)
            for each in sums:
                self._accumulate(each, parts, channels, number, len(wide.sizes))

    def _addition(self, reader: Node) -> Node | None:
        """The node that adds a reader's result to a value that is there already, if any.

        The parts are added to that value then, as runtimes can do within a convolution.
        """
        output = reader.outputs[0]
        if output in self.graph.outputs or len(self.readers[output]) != 1:
            return None
        (node,) = self.readers[output]
        if node.operator != "Add" or self._made.isdisjoint(node.inputs):
            return None
        same = {self.graph.values[name].shape for name in (*node.inputs, output)}
        return node if len(same) == 1 else None

    def _part(self, node: Node, source: str, channels: slice, number: int) -> str:
        """Make some channels of a node's output; returns their name."""
        output = node.outputs[0]
        count = channels.stop - channels.start
        name = self._declare(f"{output}/part{number}", output, count)
        attributes = dict(node.attributes)
        if attributes.get("group", 1) != 1:
            attributes["group"] = count
        arguments = [
            self._cut(argument, name, channels) if _has_channels(self.graph, node, argument)
            else argument
            for argument in node.inputs[1:]
        ]  # fmt: skip
        inputs = (source, *arguments)
        self._add(replace(node, inputs=inputs, outputs=(name,), attributes=attributes))
        return name

    def _accumulate(
        self, total: "_Sum", parts: Mapping[str, str], channels: slice, number: int, count: int
    ) -> None:
        """Add what a reader makes of a part."""
        reader = total.reader
        source, weights, *bias = reader.inputs
        label = f"{reader.outputs[0]}/part{number}"
        cut = self._cut(weights, label, channels, axis=1)
        inputs = (parts[source], cut, *(bias if number == 1 else ()))
        made = self._declare(label, reader.outputs[0])
        self._add(replace(reader, inputs=inputs, outputs=(made,)))
        if total.before is None:
            total.before = made
            return
        is_last = number == count
        name = total.name if is_last else self._declare(f"{label}/sum", reader.outputs[0])
        self._add(Node("Add", (total.before, made), (name,)))
        total.before = name

    def _declare(self, name: str, like: str, channels: int | None = None) -> str:
        """Declare a value like another one, with a number of channels; returns its name."""
        value = self.graph.values[like]
        shape = (value.shape[0], channels or value.static(1), *value.shape[2:])
        made = Value(self.graph.fresh(name), shape, value.dtype)
        self.graph.values[made.name] = made
        return made.name

    def _cut(self, name: str, label: str, channels: slice, axis: int = 0) -> str:
        """Some channels of a constant, as another one; returns its name."""
        content: Array | None = self.graph.values[name].constant
        assert content is not None
        part = content[(slice(None),) * axis + (channels,)]
        return self.graph.constant(part, f"{label}/{'weight' if part.ndim > 1 else 'bias'}").name

    def _add(self, node: Node) -> None:
        self.nodes.append(node)
        self._made.update(node.outputs)


@dataclass
class _Sum:
    """What a reader makes of the parts so far."""

    reader: Node
    name: str
    """Of the whole sum."""
    before: str | None
    """What the next part is added to; None before the first."""

    @classmethod
    def of(cls, graph: GraphBuilder, reader: Node, addition: Node | None) -> "_Sum":
        output = reader.outputs[0]
        if addition is None:
            return cls(reader, output, None)
        (other,) = (name for name in addition.inputs if name != output)
        return cls(reader, addition.outputs[0], other)


def _has_channels(graph: GraphBuilder, node: Node, argument: str) -> bool:
    """Whether an argument of a family's node has a value for each channel."""
    if node.operator == "Conv":
        return True
    slopes: Array | None = graph.values[argument].constant
    return node.operator == "PRelu" and slopes is not None and slopes.size > 1
