"""A network as Caffe sees it, and what becomes of each layer in the ONNX file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from convert.caffe.depthwise import DEPTHWISE
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.network import Layer, Network
from convert.caffe.weights import Blobs
from convert.fold import fold
from convert.graph import GraphBuilder, Node, Shape, Value
from convert.layers.blobs import NO_WEIGHTS, text
from convert.layers.registry import Handler
from convert.merge import merge
from convert.outputs.kinds import Kind, frame, input_problems
from convert.outputs.preprocessing import Preprocessing
from convert.simulation import fill_blobs
from convert.translate import TranslationError
from sfd.errors import UsageError

_CONVOLUTIONS = DEPTHWISE | frozenset(["Convolution", "Convolution3D"])
_WEIGHTED_OPERATORS = frozenset(["Conv", "ConvTranspose", "Gemm"])


@dataclass(frozen=True, slots=True)
class ExplainedLayer:
    """One layer and what becomes of it."""

    name: str
    type: str
    shapes: tuple[Shape, ...]
    """Shapes of the tops, with an open batch; empty if the layer was not reached."""
    parameters: int
    """The number of values in its weights."""
    macs: int
    """Multiply-accumulates for one image, of convolutions and inner products."""
    fate: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `sfd convert --explain` prints."""

    network: Network
    kind: Kind
    layers: tuple[ExplainedLayer, ...]
    problems: tuple[Diagnostic, ...]
    """Why the network can't be converted; empty if it can be."""

    def __str__(self) -> str:
        head = ("layer", "type", "tops", "parameters", "MACs", "in the ONNX file")
        rows = [
            (
                layer.name,
                layer.type,
                " ".join(map(text, layer.shapes)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.macs:,}" if layer.macs else "",
                layer.fate,
            )
            for layer in self.layers
        ]
        parameters, macs = (
            sum(getattr(layer, name) for layer in self.layers) for name in ("parameters", "macs")
        )
        inputs = ", ".join(f"{name} {list(shape)}" for name, shape in self.network.inputs.items())
        lines = [
            f"{self.network.name or 'the network'}: {len(self.network.layers)} layers, "
            f"{parameters:,} parameters, {macs:,} MACs an image",
            f"inputs: {inputs or 'none'}",
            "",
            *_columns([head, *rows], right=(3, 4)),
            "",
        ]
        if self.problems:
            count = len(self.problems)
            lines.append(f"It can't be converted: {count} problem{'s' if count > 1 else ''}")
            lines += [f"  {problem}" for problem in self.problems]
        else:
            lines.append(f"It can be converted, with --output {self.kind}.")
        return "\n".join(lines)


@dataclass
class _Record:
    """What the handlers did."""

    nodes: dict[str, list[Node]] = field(default_factory=dict)
    """The nodes that each layer added, by the name of its first top or its own."""
    blobs: dict[str, int] = field(default_factory=dict)
    macs: dict[str, int] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    """Layers whose tops are their bottoms."""
    computed: set[str] = field(default_factory=set)
    """Layers whose tops are constants."""


def explain(
    network: Network,
    problems: Sequence[Diagnostic],
    kind: Kind,
    preprocessing: Preprocessing | None,
    *,
    merging: bool = True,
) -> Explanation:
    """Translate a network and note what becomes of each layer; weights are not needed.

    `problems` are those that reading it found. A network that can't be converted is explained as
    far as its layers can be translated.
    """
    graph, record = GraphBuilder(), _Record()
    found = list(problems)
    # If reading found why there is no input, that is enough.
    if network.inputs or not problems:
        found += input_problems(network, kind)
    framed = Kind.RAW if found else kind
    try:
        if network.inputs:
            frame(
                network, framed, preprocessing, graph, lambda handler: _recording(handler, record)
            )
    except TranslationError as error:
        known = {str(problem) for problem in found}
        found += [
            each
            for each in error.diagnostics
            # Said of every layer behind one that failed.
            if str(each) not in known and each.message != NO_WEIGHTS
        ]
    except UsageError as error:
        found.append(Diagnostic(str(error)))
    except (KeyError, ValueError):
        if not found:
            raise
    if found:
        fates = {
            name: _converted(node.operator for node in nodes)
            for name, nodes in record.nodes.items()
        }
    else:
        fates = _fates(graph, record, merging)
    refused: dict[str | None, list[str]] = {}
    for problem in found:
        refused.setdefault(problem.layer, []).append(problem.message)
    layers = [_explained(layer, graph, record, fates, refused) for layer in network.layers]
    layers += [
        ExplainedLayer(
            layer.name, layer.type, (), 0, 0, "dropped: serves only training and testing"
        )
        for layer in network.training_layers
    ]
    return Explanation(network, kind, tuple(layers), tuple(found))


def _recording(handler: Handler, record: _Record) -> Handler:
    def translate(
        layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]
    ) -> Value | Sequence[Value]:
        filled: list[tuple[int, ...]] = [blob.shape for blob in layer.blobs]

        def fill(_: Layer, shapes: Sequence[tuple[int, ...]]) -> Blobs:
            filled[:] = shapes
            # Not 1, because a Scale by 1 would be removed. A broadcast view takes one number of
            # memory.
            return tuple(np.broadcast_to(np.float32(2), shape) for shape in shapes)

        before = len(graph.nodes)
        made = fill_blobs(handler.translate, fill)(layer, graph, inputs)
        values = [made] if isinstance(made, Value) else list(made)
        key = layer.name
        record.nodes[key] = graph.nodes[before:]
        record.blobs[key] = sum(int(np.prod(shape, dtype=np.int64)) for shape in filled)
        record.macs[key] = _macs(layer, filled, inputs, values)
        if not record.nodes[key]:
            if values and all(value.constant is not None for value in values):
                record.computed.add(key)
            else:
                record.passed.add(key)
        return made

    return replace(handler, translate=translate)


def _macs(
    layer: Layer,
    blobs: Sequence[tuple[int, ...]],
    inputs: Sequence[Value],
    tops: Sequence[Value],
) -> int:
    """Multiply-accumulates: each weight counts once for each position that it is applied to."""
    if not blobs:
        return 0
    if layer.type in _CONVOLUTIONS:
        places = sum(_count(top.shape[2:]) for top in tops)
    elif layer.type == "Deconvolution":
        places = sum(_count(bottom.shape[2:]) for bottom in inputs)
    elif layer.type == "InnerProduct":
        places = sum(_count(top.shape[1:-1]) for top in tops)
    else:
        return 0
    return _count(blobs[0]) * places


def _count(shape: Shape) -> int:
    return int(np.prod([dim for dim in shape if isinstance(dim, int)], dtype=np.int64))


def _fates(graph: GraphBuilder, record: _Record, merging: bool) -> dict[str, str]:
    """What became of each layer's nodes in folding and merging."""
    owners = {
        output: name for name, nodes in record.nodes.items() for node in nodes
        for output in node.outputs
    }  # fmt: skip
    before = {output: node for node in graph.needed_nodes() for output in node.outputs}
    fold(graph)
    folded_outputs = {output for node in graph.needed_nodes() for output in node.outputs}
    if merging:
        merge(graph)
    after = {output: node for node in graph.needed_nodes() for output in node.outputs}
    operators: dict[str, list[str]] = {}
    targets: dict[str, str] = {}
    for output, node in after.items():
        if output.endswith("/merged"):
            continue  # the Split carries the layers' names
        owner = owners.get(output) or owners.get(output.rpartition("/")[0], "")
        old = before.get(output)
        if old is not None and node.operator in _WEIGHTED_OPERATORS | {"Split"}:
            # A chain of Mul and Add was folded into the weights of the node before it.
            while old.operator not in _WEIGHTED_OPERATORS and old.operator in ("Mul", "Add"):
                targets[owners.get(old.outputs[0], "")] = ""
                old = _source(old, before)
            maker = owners.get(old.outputs[0], owner)
            targets = {name: target or maker for name, target in targets.items()}
            if maker != owner:
                operators.setdefault(maker, []).append(old.operator)
                continue
            if node.operator == "Split" != old.operator:
                operators.setdefault(owner, []).append(f"{old.operator} (merged with others)")
                continue
        operators.setdefault(owner, []).append(node.operator)
    fates: dict[str, str] = {}
    for name, nodes in record.nodes.items():
        if name in operators:
            fates[name] = _converted(operators[name])
        elif name in targets and targets[name] != name:
            fates[name] = f"folded into {targets[name]}"
        elif nodes:
            used = [node for node in nodes if node.outputs[0] in before]
            follower = _follower(used, before, folded_outputs, owners) if used else ""
            fates[name] = (
                f"folded into {follower}" if follower else "dropped: no output depends on it"
            )
    return fates


def _source(node: Node, before: dict[str, Node]) -> Node:
    return next(before[name] for name in node.inputs if name in before)


def _follower(
    nodes: Sequence[Node], before: dict[str, Node], after: set[str], owners: dict[str, str]
) -> str:
    """The layer whose nodes absorbed these, which were a chain of Mul and Add."""
    outputs = {output for node in nodes for output in node.outputs}
    for output, node in before.items():
        if outputs.intersection(node.inputs):
            outputs.update(node.outputs)
            if output in after:
                return owners.get(output, "")
    return ""


def _converted(operators: Iterable[str]) -> str:
    counts = Counter(operators)
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items())


def _explained(
    layer: Layer,
    graph: GraphBuilder,
    record: _Record,
    fates: dict[str, str],
    refused: dict[str | None, list[str]],
) -> ExplainedLayer:
    shapes = tuple(graph.blobs[top].shape for top in layer.tops if top in graph.blobs)
    if layer.name in refused:
        fate = f"refused: {'; '.join(refused[layer.name])}"
    elif layer.name in record.computed:
        fate = "a constant"
    elif layer.name in record.passed:
        fate = "dropped: its result is its input" if layer.tops else "dropped: it has no result"
    elif layer.name in record.nodes:
        fate = fates.get(layer.name) or "dropped: no output depends on it"
    else:
        fate = "not reached: a layer before it is refused"
    return ExplainedLayer(
        layer.name,
        layer.type,
        shapes,
        record.blobs.get(layer.name, 0),
        record.macs.get(layer.name, 0),
        fate,
    )


def _columns(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Rows as aligned columns: numbers to the right, and the last column unpadded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
