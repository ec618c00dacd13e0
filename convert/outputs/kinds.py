"""The three kinds of output, each a way to frame the same network in an ONNX graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx

from convert.caffe.diagnostics import Diagnostic
from convert.caffe.network import Layer, Network
from convert.fold import fold
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.registry import Handler, LayerError, handlers
from convert.merge import merge
from convert.outputs.decoding import decode_values, predictions
from convert.outputs.detection_output import DetectionOutput, read
from convert.outputs.preprocessing import IMAGES, ONLY_RAW, OnlyRawError, Preprocessing
from convert.outputs.suppression import suppress
from convert.partition import partition, wide_values
from convert.prune import prune
from convert.translate import TranslationError, build_graph, input_shapes, problems_of
from convert.widen import widen
from geometry.arrays import F32
from sfd.errors import SfdError

DATA = "data"
BOXES, SCORES, DETECTIONS = "boxes", "scores", "detections"
DETECTION_OUTPUT = "DetectionOutput"


class Kind(StrEnum):
    """The kind of output of a file; docs/convert.md has the table of inputs and outputs."""

    HEADS = "heads"
    DETECTIONS = "detections"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class DetectorBlobs:
    """The blobs that a detector's DetectionOutput reads, by name, and its parameters."""

    top: str
    loc: str
    conf: str
    priors: str
    prior_boxes: F32
    """[1, 2, priors * 4]: boxes, then variances."""
    detection: DetectionOutput


@dataclass(frozen=True, slots=True)
class Built:
    """A graph as a model, and where to find the network's blobs in it."""

    kind: Kind
    model: onnx.ModelProto
    network: Network
    preprocessing: Preprocessing | None
    """None for `raw`."""
    heads: DetectorBlobs | None
    """None where the network does not end in a DetectionOutput."""
    values: Mapping[str, str]
    """The ONNX value of each blob of the network that a node of the model makes."""
    shapes: Mapping[str, Shape]
    """The shape of each blob of the network, the batch open."""
    parts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """The channels of the parts in which values are or could be computed (`convert.partition`)."""
    folder: Path | None = None
    """Where the external data of `model` is; None where it has none."""


def default_kind(network: Network) -> Kind:
    """`heads` for a detector, `raw` for any other network."""
    return Kind.HEADS if _detectors(network) else Kind.RAW


def build(
    network: Network,
    kind: Kind,
    preprocessing: Preprocessing | None,
    name: str,
    *,
    pruning: bool = True,
    merging: bool = True,
    widening: bool = True,
    partitioning: bool = False,
    parts: Mapping[str, Sequence[int]] | None = None,
) -> Built:
    """Translate a network and frame it as a kind. Raises SfdError with every problem.

    `pruning` removes channels that change no output (`convert.prune`), `merging` joins convolutions
    that read one value through the same window (`convert.merge`), and `widening` computes those
    with few outputs in another way (`convert.widen`). `partitioning` computes wide values in parts
    (`convert.partition`), those of `parts` if they are given.
    """
    problems = input_problems(network, kind)
    if problems:
        raise TranslationError([*problems, *problems_of(network)])
    graph = GraphBuilder()
    if kind is not Kind.RAW and preprocessing is None:
        preprocessing = Preprocessing.of(next(iter(network.inputs.values()))[1])
    network = frame(network, kind, preprocessing, graph)
    fold(graph)
    if pruning:
        prune(graph)
    if merging:
        merge(graph)
    if widening:
        widen(graph)
    parts = wide_values(graph) if parts is None else parts
    if partitioning:
        partition(graph, parts)
    made = {output for node in graph.needed_nodes() for output in node.outputs}
    return Built(
        kind=kind,
        model=graph.model(name),
        network=network,
        preprocessing=None if kind is Kind.RAW else preprocessing,
        heads=_detector_blobs(_detectors(network), graph),
        values={blob: value.name for blob, value in graph.blobs.items() if value.name in made},
        shapes={blob: value.shape for blob, value in graph.blobs.items()},
        parts=parts,
    )


def frame(
    network: Network,
    kind: Kind,
    preprocessing: Preprocessing | None,
    graph: GraphBuilder,
    wrap: Callable[[Handler], Handler] = lambda handler: handler,
) -> Network:
    """Add a network to a graph, with the inputs and outputs of a kind; nothing is folded yet.

    `wrap` may replace the handlers. Returns the network with the names of its blobs in the graph.
    """
    detectors = _detectors(network)
    if kind is not Kind.RAW and len(detectors) != 1:
        ends = "several DetectionOutput layers" if detectors else "no DetectionOutput layer"
        raise OnlyRawError(f"the network has {ends}, but {kind} need exactly one: {ONLY_RAW}")
    network = _renamed(network, _own_names(kind))
    overrides = {name: wrap(handler) for name, handler in handlers().items()}
    blob, shape = next(iter(network.inputs.items()))
    if kind is Kind.RAW:
        if len(network.inputs) == 1:
            graph.bind(blob, graph.input(DATA, input_shapes(network)[blob]))
        build_graph(network, graph, overrides)
        for top in network.outputs:
            graph.output(top, graph.blobs[top])
    else:
        channels, height, width = shape[1:]
        preprocessing = preprocessing or Preprocessing.of(channels)
        preprocessing.add(graph, (channels, height, width), blob)
        end = Handler(DETECTION_OUTPUT, _heads if kind is Kind.HEADS else _rows, (3, None), (1, 1))
        build_graph(network, graph, {**overrides, DETECTION_OUTPUT: wrap(end)})
        for output in (BOXES, SCORES) if kind is Kind.HEADS else (DETECTIONS,):
            graph.output(output, graph.values[output])
    return network


def check_input(network: Network, kind: Kind = Kind.HEADS) -> None:
    """Raise SfdError unless the network has the inputs that a kind of output needs."""
    for problem in input_problems(network, kind):
        raise SfdError(str(problem))


def input_problems(network: Network, kind: Kind) -> list[Diagnostic]:
    """Why the inputs of a network don't fit a kind of output: all but `raw` need one image."""
    if not network.layers:
        return [Diagnostic("the prototxt has no layers: give the network's deploy prototxt")]
    if not network.inputs:
        return [Diagnostic("the network has no input: give its deploy prototxt")]
    if kind is Kind.RAW:
        if network.outputs:
            return []
        return [Diagnostic("the network has no output: all tops are silenced; remove a Silence")]
    blob, shape = next(iter(network.inputs.items()))
    if len(network.inputs) > 1:
        names = ", ".join(network.inputs)
        what = f"{kind} need one input, the image, but the network has {names}"
    elif len(shape) != 4:
        what = f"{kind} need an image, but input {blob} has {len(shape)} dimensions, not 4"
    else:
        return []
    return [Diagnostic(f"{what}: {ONLY_RAW}")]


def _detectors(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if layer.type == DETECTION_OUTPUT]


def _detector_blobs(detectors: Sequence[Layer], graph: GraphBuilder) -> DetectorBlobs | None:
    if len(detectors) != 1:
        return None
    layer = detectors[0]
    loc, conf, priors = layer.bottoms[:3]
    boxes = np.asarray(graph.blobs[priors].constant, np.float32)
    return DetectorBlobs(layer.tops[0], loc, conf, priors, boxes, read(layer))


def _heads(layer: Layer, graph: GraphBuilder, bottoms: Sequence[Value]) -> Value:
    """Boxes and scores of every prior."""
    detection = read(layer)
    if not detection.share_location and len(detection.labels) > 1:
        raise LayerError(
            f"share_location: false gives each of {len(detection.labels)} classes its own box at "
            "each prior, which heads can't express: convert with --output detections or raw"
        )
    decoded = decode_values(
        detection, graph, *predictions(bottoms), boxes_name=BOXES, scores_name=SCORES
    )
    return decoded.scores


def _rows(layer: Layer, graph: GraphBuilder, bottoms: Sequence[Value]) -> Value:
    """DetectionOutput rows."""
    detection = read(layer)
    decoded = decode_values(detection, graph, *predictions(bottoms))
    return suppress(detection, graph, decoded, DETECTIONS)


def _own_names(kind: Kind) -> tuple[str, ...]:
    return {
        Kind.RAW: (DATA,),
        Kind.HEADS: (IMAGES, BOXES, SCORES),
        Kind.DETECTIONS: (IMAGES, DETECTIONS),
    }[kind]


def _renamed(network: Network, taken: Sequence[str]) -> Network:
    """The network with other names for tops that are named like inputs or outputs of the file."""
    tops = {top for layer in network.layers for top in layer.tops}
    known = tops.union(network.inputs)
    names: dict[str, str] = {}
    for blob in tops.intersection(taken).difference(network.inputs):
        names[blob] = f"caffe/{blob}"
        while names[blob] in known:
            names[blob] = f"caffe/{names[blob]}"

    def name(blob: str) -> str:
        return names.get(blob, blob)

    layers = tuple(
        replace(
            layer,
            bottoms=tuple(map(name, layer.bottoms)),
            tops=tuple(map(name, layer.tops)),
        )
        for layer in network.layers
    )
    return replace(network, layers=layers, outputs=tuple(map(name, network.outputs)))
