"""The walk over a Caffe network that lets each layer's handler add its part to the ONNX graph."""

import difflib
import math
from collections.abc import Mapping, Sequence

from convert.caffe.diagnostics import CaffeError, Diagnostic
from convert.caffe.network import Layer, Network
from convert.graph import BATCH, GraphBuilder, OpenDimensionError, Value
from convert.layers.blobs import NO_WEIGHTS, text
from convert.layers.registry import Handler, LayerError, handlers
from convert.layers.weights import repeated

MAX_ELEMENTS = 2**31 - 1
"""Of one image's blob: Caffe counts in int."""


class TranslationError(CaffeError):
    """What of a network can't be translated: every problem at once."""

    def __init__(self, problems: Sequence[Diagnostic]) -> None:
        super().__init__("the network can't be converted", problems)


def build_graph(
    network: Network, graph: GraphBuilder, overrides: Mapping[str, Handler] | None = None
) -> None:
    """Add a whole network to a graph; afterwards `graph.blobs` has each of its values by name.

    Inputs of the network that the graph already has as blobs are taken from there; the others
    become inputs of the graph, their first dimension the open batch. `overrides` replace handlers
    by layer type. No output is declared, nothing is folded: that's for the caller.

    Raises TranslationError with all problems. A layer behind one that failed is only checked for
    having a handler and weights, so that one cause gives one problem.
    """
    known = {**handlers(), **(overrides or {})}
    graph.reserve([*network.inputs, *(top for layer in network.layers for top in layer.tops)])
    for name, shape in network.inputs.items():
        if name not in graph.blobs:
            graph.input(name, (BATCH, *shape[1:]))
    problems = repeated(network.layers)
    for layer in network.layers:
        try:
            _translate(layer, graph, known)
        except LayerError as error:
            problems += [Diagnostic(text, layer.line, layer=layer.name) for text in error.messages]
        except OpenDimensionError as error:
            problems.append(Diagnostic(str(error), layer.line, layer=layer.name))
    if problems:
        raise TranslationError(problems)


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
    by_case = {name.lower(): name for name in known}
    near = difflib.get_close_matches(layer_type.lower(), by_case, n=3)
    hint = f"; did you mean {' or '.join(by_case[name] for name in near)}?" if near else ""
    return f"layers of type {layer_type} can't be converted{hint}"


def _check_count(kind: str, count: int, allowed: tuple[int, int | None]) -> None:
    low, high = allowed
    if count < low or (high is not None and count > high):
        expected = f"{low}" if high == low else f"{low} to {high}" if high else f"{low} or more"
        plural = "" if expected == "1" else "s"
        raise LayerError(f"expected {expected} {kind}{plural}, found {count}")
