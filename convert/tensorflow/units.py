"""Finds, checks and decodes the convolutions of a graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from convert.caffe.blobs import times
from convert.caffe.diagnostics import Diagnostic
from convert.tensorflow import names, tensor
from convert.tensorflow.graph import Graph
from convert.tensorflow.graph_pb2 import NodeDef
from convert.tensorflow.names import BATCH_NORM, Kernel, Parameter, Unit
from geometry.arrays import F32

ZOO_EPSILON = 0.001
"""BatchNorm's epsilon in the zoo's configurations, used if a graph doesn't state one."""
MAX_VALUES = 1 << 26
"""The largest number of values in all constants together, ten times the largest MobileNet-V2."""

_KERNELS = {Kernel.STEM: (3, 3, 3), Kernel.DEPTHWISE: (3, 3), Kernel.POINTWISE: (1, 1)}
_SHOWN = 4


@dataclass(frozen=True)
class Convolution:
    """A unit with its arrays: with BatchNorm, or with biases if it was folded."""

    unit: Unit
    parts: Mapping[Parameter, F32]
    """WEIGHTS [height, width, in, out] (or, depthwise, [height, width, in, multiplier]); others
    [channels]."""
    epsilon: float = ZOO_EPSILON

    @property
    def batch_norm(self) -> bool:
        """Whether BatchNorm follows."""
        return Parameter.GAMMA in self.parts


@dataclass
class Found:
    """The family's convolutions in a graph, in the order of its prototxts, and all problems."""

    convolutions: list[Convolution] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find(graph: Graph) -> Found:
    """Find every convolution of the family in the graph. Problems are listed, not raised."""
    found = Found()
    nodes = _places(graph, found)
    if not nodes:
        found.problems.append(Diagnostic(_nothing(graph)))
        return found
    layers = {unit.layer for unit in nodes}
    found.problems += [
        Diagnostic("the graph lacks this convolution", layer=layer)
        for layer in names.missing(layers)
    ]
    if "Conv_1" not in layers:
        found.warnings.append("the graph has no Conv_1: it ends before the backbone does")
    if not _fits_in_memory(nodes, found):
        return found
    assumed = 0
    for unit in sorted(nodes, key=lambda unit: names.order(unit.layer)):
        convolution, said = _convolution(unit, nodes[unit], graph, found.problems)
        if convolution is not None:
            found.convolutions.append(convolution)
            assumed += convolution.batch_norm and not said
    if assumed:
        found.warnings.append(
            f"the graph doesn't state the epsilon of {assumed} BatchNorm layers; assuming the "
            f"zoo's, {ZOO_EPSILON:g}"
        )
    kinds = {convolution.batch_norm for convolution in found.convolutions}
    if len(kinds) > 1:
        few = [item.unit.layer for item in found.convolutions if not item.batch_norm]
        found.problems.append(
            Diagnostic(
                f"BatchNorm is folded into {_some(few)} but not into the others: the family's "
                "prototxts have BatchNorm everywhere or nowhere"
            )
        )
    return found


def _places(graph: Graph, found: Found) -> dict[Unit, dict[Parameter, NodeDef]]:
    """The constants by their places. Missing and unknown constants are reported."""
    nodes: dict[Unit, dict[Parameter, NodeDef]] = {}
    left: dict[str, int] = {}
    full: set[str] = set()
    for name, node in graph.constants.items():
        placed = names.place(name)
        if placed is None:
            if (scope := names.trained(name)) is not None:
                left[scope] = left.get(scope, 0) + 1
            continue
        unit, parameter = placed
        of_unit = nodes.setdefault(unit, {})
        if parameter in of_unit:
            text = f"{parameter} is there twice: as {of_unit[parameter].name} and as {name}"
            found.problems.append(Diagnostic(text, layer=unit.layer))
        of_unit[parameter] = node
    # The detection API's plain SSD has full 3×3 convolutions where SSDLite has separable ones.
    layers = {unit.layer for unit in nodes}
    for unit in list(nodes):
        alone = unit.kernel is Kernel.POINTWISE and f"{unit.layer}/depthwise" not in layers
        if unit.layer.startswith("layer_19_2_") and alone and _extent(nodes[unit]) == (3, 3):
            full.add(unit.origin)
            del nodes[unit]
    if left:
        found.warnings.append(
            f"{sum(left.values())} trained constants have no place in this family and are left "
            f"out: those of {_some(sorted(left))}"
        )
    if full:
        found.warnings.append(
            f"{_some(sorted(full))}: left out, because these are full 3×3 convolutions and this "
            "family has separable ones"
        )
    variables = sorted(name for name in graph.variables if names.place(name))
    if variables:
        found.problems.append(
            Diagnostic(
                f"the graph isn't frozen: {_some(variables)} are variables, whose values are in a "
                "checkpoint; give the frozen graph"
            )
        )
    return nodes


def _nothing(graph: Graph) -> str:
    some = sorted({scope for name in graph.constants if (scope := names.trained(name))})
    has = f"; it has {_some(some)}" if some else ""
    return (
        f"no constant has a name of MobileNet-V2 (…MobilenetV2/Conv/weights, …){has}; give "
        "the frozen graph of an SSD MobileNet-V2"
    )


def _fits_in_memory(nodes: Mapping[Unit, Mapping[Parameter, NodeDef]], found: Found) -> bool:
    count = 0
    for parts in nodes.values():
        for node in parts.values():
            try:
                count += math.prod(tensor.shape_of(node))
            except tensor.TensorError:
                continue  # reported when the constant is decoded
    if count > MAX_VALUES:
        found.problems.append(
            Diagnostic(f"its constants have {count} values, more than any MobileNet-V2 has")
        )
    return count <= MAX_VALUES


def _convolution(
    unit: Unit, nodes: Mapping[Parameter, NodeDef], graph: Graph, problems: list[Diagnostic]
) -> tuple[Convolution | None, bool]:
    """The convolution, or None with its problems, and whether the graph states its epsilon."""
    before = len(problems)

    def complain(text: str) -> None:
        problems.append(Diagnostic(text, layer=unit.layer))

    parts: dict[Parameter, F32] = {}
    for parameter, node in nodes.items():
        try:
            parts[parameter] = tensor.decode(node)
        except tensor.TensorError as error:
            complain(f"{node.name}: {error}")
    if Parameter.WEIGHTS not in nodes:
        complain(f"the graph lacks {unit.origin}/{Parameter.WEIGHTS}")
    normalised = any(parameter in nodes for parameter in BATCH_NORM)
    if normalised:
        for parameter in BATCH_NORM:
            if parameter not in nodes:
                complain(f"the graph lacks {unit.origin}/{parameter}")
        if Parameter.BIASES in nodes:
            complain("it has both BatchNorm and biases, which no layer of this family has")
    elif Parameter.BIASES not in nodes:
        complain("it has neither BatchNorm nor biases")
    if len(problems) > before:
        return None, False
    weights = parts[Parameter.WEIGHTS]
    expected = _KERNELS[unit.kernel]
    if weights.ndim != 4 or weights.shape[: len(expected)] != expected or 0 in weights.shape:
        complain(f"its weights are {times(weights.shape)}, but it is {unit.kernel} here")
        return None, False
    channels = weights.shape[3]
    if unit.kernel is Kernel.DEPTHWISE:
        channels *= weights.shape[2]
    epsilon = parts.pop(Parameter.EPSILON, None)
    for parameter, array in parts.items():
        if parameter is not Parameter.WEIGHTS and array.shape != (channels,):
            complain(f"{parameter} is {times(array.shape)} for {channels} channels")
    value: float | None = None
    if epsilon is not None:
        value = float(epsilon.reshape(-1)[0]) if epsilon.size == 1 else math.nan
    elif normalised:
        value = graph.epsilons.get(nodes[Parameter.GAMMA].name)
    said = value is not None
    value = ZOO_EPSILON if value is None else value
    if normalised:
        if not (math.isfinite(value) and value >= 0):
            complain(f"the epsilon of its BatchNorm is {value:g}")
        elif parts[Parameter.VARIANCE].min() < 0 or parts[Parameter.VARIANCE].min() + value <= 0:
            complain(f"{Parameter.VARIANCE} has values that can't be variances")
    return (None if len(problems) > before else Convolution(unit, parts, value)), said


def _extent(parts: Mapping[Parameter, NodeDef]) -> tuple[int, ...] | None:
    """Height and width of the kernel, if it has both."""
    try:
        return tensor.shape_of(parts[Parameter.WEIGHTS])[:2]
    except (KeyError, tensor.TensorError):
        return None


def _some(items: list[str]) -> str:
    """The first few of a list, which may be long."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
