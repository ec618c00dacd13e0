"""Walks over a Caffe network; each layer's handler adds its part to the ONNX graph."""

import difflib
import math
from collections.abc import Mapping, Sequence

from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.caffe.network import Layer, Network
from convert.graph import BATCH, GraphBuilder, OpenDimensionError, Shape, Value
from convert.layers.blobs import NO_WEIGHTS, text
from convert.layers.registry import BatchError, Handler, LayerError, handlers
from convert.layers.weights import repeated

MAX_ELEMENTS = 2**31 - 1
"""The most elements in one image's blob, which Caffe counts in an int."""

ONE_IMAGE = "; or convert it for one image at a time: --output raw --fixed-batch"
"""What to do about a layer that mixes the images of a batch."""
_POOLS_ROIS = frozenset(["PSROIAlign", "PSROIPooling", "ROIAlign", "ROIPooling"])
"""Layers whose second bottom has one row for each region, for any number of images."""
TIME = "time"
"""The name of the open first dimension of a sequence input."""
_RECURRENT = frozenset(["LSTM", "Lstm", "RNN"])
_KEEPS_ROWS = frozenset(["Embed", "Flatten", "Power", "Reshape", "Scale", "Split"])


class TranslationError(CaffeError):
    """A network can't be translated; lists every reason."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        super().__init__("the network can't be converted", problems)


def build_graph(
    network: Network, graph: GraphBuilder, overrides: Mapping[str, Handler] | None = None
) -> None:
    """Add a whole network to a graph; afterwards `graph.blobs` has each of its values by name.

    Inputs of the network that the graph has as blobs already stay as they are. The others become
    inputs of the graph, of the shapes of `input_shapes`. `overrides` replace handlers by layer
    type. The caller declares outputs and folds constants.

    Raises TranslationError with all problems. A layer behind one that failed is only checked for
    a handler and weights, so that one cause gives one problem.
    """
    known = {**handlers(), **(overrides or {})}
    graph.reserve([*network.inputs, *(top for layer in network.layers for top in layer.tops)])
    for name, shape in input_shapes(network).items():
        for dim, size in zip(shape, network.inputs[name], strict=True):
            if isinstance(dim, str):
                graph.stated.setdefault(dim, size)
        if name not in graph.blobs:
            graph.input(name, shape)
    problems = repeated(network.layers)
    for layer in network.layers:
        try:
            _translate(layer, graph, known)
        except LayerError as error:
            hint = ONE_IMAGE if isinstance(error, BatchError) else ""
            problems += [
                Diagnostic(f"{text}{hint}", layer.line, layer=layer.name) for text in error.messages
            ]
        except OpenDimensionError as error:
            problems.append(Diagnostic(f"{error}{ONE_IMAGE}", layer.line, layer=layer.name))
    if problems:
        raise TranslationError(problems)


def problems_of(network: Network, known: Sequence[Diagnostic] = ()) -> list[Diagnostic]:
    """Every reason why a network can't be translated; none if it can.

    Problems of weights are left out where they follow from a `known` problem: of a layer whose
    blobs are damaged, and of all layers if the file has no weights that can be read.
    """
    damaged = {each.layer for each in known if each.layer and "blob" in each.message}
    has_weights = any(layer.blobs for layer in network.layers)
    try:
        build_graph(network, GraphBuilder())
    except TranslationError as error:
        return [
            each
            for each in error.diagnostics
            if not (
                each.layer in damaged and (each.message == NO_WEIGHTS or "blob" in each.message)
            )
            and (has_weights or each.message != NO_WEIGHTS)
        ]
    return []


def input_shapes(network: Network) -> dict[str, Shape]:
    """The shapes of the network's inputs with their open dimensions.

    The first dimension of the first input is the batch. So is that of any other input for which
    the prototxt writes the same number. There are two exceptions. Regions of interest, as
    ROIPooling reads them, have an open number of their own, named after the input. A sequence, as
    LSTM reads it, is open in time. Every other dimension is fixed, and with `fixed_batch` so is the
    batch.
    """
    shapes: dict[str, Shape] = {}
    batch = next((shape[0] for shape in network.inputs.values() if shape), None)
    for position, (name, shape) in enumerate(network.inputs.items()):
        first, rest = shape[:1], shape[1:]
        if position and _reaches(network, name, _POOLS_ROIS, slice(1, None)):
            shapes[name] = (name, *rest)
        elif _reaches(network, name, _RECURRENT, slice(0, 2)):
            shapes[name] = (TIME, *rest)
        elif first == (batch,) and not network.fixed_batch:
            shapes[name] = (BATCH, *rest)
        else:
            shapes[name] = shape
    return shapes


def _reaches(network: Network, name: str, types: frozenset[str], bottoms: slice) -> bool:
    """Whether a layer of these types reads the rows of an input as one of these bottoms."""
    names = {name}
    for layer in network.layers:
        if layer.type in types and names.intersection(layer.bottoms[bottoms]):
            return True
        if layer.type in _KEEPS_ROWS and names.intersection(layer.bottoms[:1]):
            names.update(layer.tops)
    return False


def _translate(layer: Layer, graph: GraphBuilder, known: Mapping[str, Handler]) -> None:
    found = known.get(layer.type)
    if found is None:
        raise LayerError(_unknown(layer.type, known))
    _check_count("bottom", len(layer.bottoms), found.bottoms)
    _check_count("top", len(layer.tops), found.tops)
    if any(bottom not in graph.blobs for bottom in layer.bottoms):
        # A layer above failed and has been reported.
        if found.refuses:
            found.translate(layer, graph, ())
        if not layer.blobs and found.needs_weights(layer):
            raise LayerError(NO_WEIGHTS)
        return
    inputs = [graph.blobs[bottom] for bottom in layer.bottoms]
    made = found.translate(layer, graph, inputs)
    values = [made] if isinstance(made, Value) else made
    for top, value in zip(layer.tops, values, strict=True):
        if math.prod(dim for dim in value.shape if isinstance(dim, int)) > MAX_ELEMENTS:
            raise LayerError(
                f"top {top} would be of shape {text(value.shape)}, too large for Caffe"
            )
        graph.bind(top, value)


def _unknown(layer_type: str, known: Mapping[str, Handler]) -> str:
    by_case = {name.lower(): name for name, found in known.items() if not found.refuses}
    near = difflib.get_close_matches(layer_type.lower(), by_case, n=3)
    hint = f"; did you mean {' or '.join(by_case[name] for name in near)}?" if near else ""
    return f"layers of type {layer_type} can't be converted{hint}"


def _check_count(kind: str, count: int, allowed: tuple[int, int | None]) -> None:
    low, high = allowed
    if count < low or (high is not None and count > high):
        expected = f"{low}" if high == low else f"{low} to {high}" if high else f"{low} or more"
        plural = "" if expected == "1" else "s"
        raise LayerError(f"expected {expected} {kind}{plural}, found {count}")
