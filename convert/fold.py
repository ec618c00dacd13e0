"""Folding: merges multiplications and additions by constants with the nodes before them.

BatchNorm, Scale, Bias and Power arrive here as Mul and Add nodes. After a Convolution,
Deconvolution or InnerProduct whose result has no other reader, they are folded into its weights.
Elsewhere a chain of them becomes one Mul and one Add. All arithmetic is in float64.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from convert.graph import GraphBuilder, Node, Value
from geometry.arrays import F32, F64
from sfd.errors import SfdError


class FoldError(SfdError):
    """Weights become infinite when they are merged."""


@dataclass(frozen=True)
class Affine:
    """The value `name` as scale · source + shift; both constants broadcast over the source."""

    source: str
    name: str
    scale: F64
    shift: F64

    def then(self, after: "Affine") -> "Affine":
        """Combine this step with the next one, which starts from its result."""
        return Affine(
            self.source,
            after.name,
            self.scale * after.scale,
            self.shift * after.scale + after.shift,
        )


def fold(graph: GraphBuilder) -> None:
    """Merge constants into the graph's nodes.

    Call it after the outputs are declared. Outputs keep their names and values. Other values may
    disappear. Raises FoldError for numbers that are too large.
    """
    nodes = graph.needed_nodes()
    uses = Counter([*(name for node in nodes for name in node.inputs), *graph.outputs])
    producers: dict[str, int] = {}
    affines: dict[str, Affine] = {}
    merged: list[Node | Affine | None] = []
    absorbed: dict[int, Affine] = {}
    for node in nodes:
        affine = _affine(graph, node, uses)
        if affine is None:
            producers.update((name, len(merged)) for name in node.outputs)
            merged.append(node)
            continue
        before = affines.get(affine.source)
        if before is not None and uses[before.name] == 1:
            affine = before.then(affine)
            merged[producers[before.name]] = None
        affines[affine.name] = affine
        place = producers.get(affine.source)
        maker = merged[place] if place is not None else None
        if (
            place is not None
            and isinstance(maker, Node)
            and uses[affine.source] == 1
            and _absorbs(graph, maker, affine)
        ):
            absorbed[place] = absorbed[place].then(affine) if place in absorbed else affine
            merged[place] = replace(maker, outputs=(affine.name,))
            del affines[affine.name]
            producers[affine.name] = place
            uses[affine.source] = 0
            continue
        producers[affine.name] = len(merged)
        merged.append(affine)
    for place, steps in absorbed.items():
        maker = merged[place]
        assert isinstance(maker, Node)
        merged[place] = _with_weights(graph, maker, steps, uses)
    graph.nodes = [
        node
        for item in merged
        if item is not None
        for node in ([item] if isinstance(item, Node) else _spelt_out(graph, item))
    ]


def _affine(graph: GraphBuilder, node: Node, uses: Counter[str]) -> Affine | None:
    """The node as an Affine, if it multiplies by or adds a constant and keeps the shape."""
    if node.operator not in ("Mul", "Add"):
        return None
    left, right = (graph.values[name] for name in node.inputs)
    x, constant = (left, right) if left.constant is None else (right, left)
    (name,) = node.outputs
    if x.constant is not None or constant.constant is None:
        return None
    if not np.issubdtype(x.dtype, np.floating) or x.shape != graph.values[name].shape:
        return None
    number = np.asarray(constant.constant, np.float64)
    _forget(graph, [constant.name], uses)
    if node.operator == "Mul":
        return Affine(x.name, name, number, np.zeros(()))
    return Affine(x.name, name, np.ones(()), number)


def _absorbs(graph: GraphBuilder, node: Node, affine: Affine) -> bool:
    """Whether the node has constant weights, and the step is one number for each channel."""
    if node.operator not in ("Conv", "ConvTranspose", "Gemm"):
        return False
    if any(graph.values[name].constant is None for name in node.inputs[1:]):
        return False
    made = graph.values[affine.name]
    channels = made.static(1)
    return all(
        _per_channel(constant, made.rank, channels) is not None
        for constant in (affine.scale, affine.shift)
    )


def _with_weights(graph: GraphBuilder, node: Node, affine: Affine, uses: Counter[str]) -> Node:
    """The node with the affine step folded into its weights, which become float32 again."""
    made = graph.values[affine.name]
    weight = graph.values[node.inputs[1]]
    channels = made.static(1)
    scale = _per_channel(affine.scale, made.rank, channels)
    shift = _per_channel(affine.shift, made.rank, channels)
    old_bias = graph.values[node.inputs[2]].constant if len(node.inputs) > 2 else np.zeros(channels)
    assert weight.constant is not None
    assert old_bias is not None
    assert scale is not None
    assert shift is not None
    weights = np.asarray(weight.constant, np.float64)
    if node.operator == "Gemm":
        scaled = weights * (scale[:, None] if node.attributes.get("transB") else scale)
    elif node.operator == "Conv":
        scaled = weights * scale.reshape(-1, *(1,) * (weights.ndim - 1))
    else:  # weights of ConvTranspose are [in, out of a group, height, width]
        groups = node.attributes["group"]
        grouped = weights.reshape(groups, -1, *weights.shape[1:])
        factors = scale.reshape(groups, 1, -1, *(1,) * (weights.ndim - 2))
        scaled = (grouped * factors).reshape(weights.shape)
    _forget(graph, node.inputs[1:], uses)
    stem = weight.name.rpartition("/")[0] or weight.name
    bias = np.asarray(old_bias, np.float64) * scale + shift
    constants = [
        graph.constant(_narrowed(array, stem), f"{stem}/{kind}").name
        for kind, array in (("weight", scaled), ("bias", bias))
    ]
    return replace(node, inputs=(node.inputs[0], *constants))


def _narrowed(array: F64, name: str) -> F32:
    """The numbers in float32. Raises FoldError if one is too large for it."""
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise FoldError(
            f"layer {name} and the BatchNorm, Scale or Power layers behind it multiply to numbers "
            "that are too large for float32: check their weights and parameters"
        )
    return narrow


def _per_channel(constant: F64, rank: int, channels: int) -> F64 | None:
    """The constant as one number for each channel (axis 1), or None if it varies on other axes."""
    full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    if full.size != full.shape[1]:
        return None
    return np.broadcast_to(full.reshape(-1), (channels,))


def _spelt_out(graph: GraphBuilder, affine: Affine) -> list[Node]:
    """The step as a Mul and an Add, without the one that would do nothing."""
    made = graph.values[affine.name]
    multiplies, adds = bool((affine.scale != 1).any()), bool((affine.shift != 0).any())
    nodes: list[Node] = []
    source = affine.source
    if multiplies or not adds:
        product = graph.fresh(f"{affine.name}/Mul") if adds else affine.name
        if adds:
            graph.values[product] = Value(product, made.shape, made.dtype)
        scale = graph.constant(_narrowed(affine.scale, affine.name), f"{affine.name}/scale")
        nodes.append(Node("Mul", (source, scale.name), (product,)))
        source = product
    if adds:
        shift = graph.constant(_narrowed(affine.shift, affine.name), f"{affine.name}/shift")
        nodes.append(Node("Add", (source, shift.name), (affine.name,)))
    return nodes


def _forget(graph: GraphBuilder, constants: Sequence[str], uses: Counter[str]) -> None:
    """Release the names of constants that only this node uses."""
    for name in constants:
        if uses[name] == 1:
            del graph.values[name]
