"""The three kinds of output, each a way to frame the same network in an ONNX graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import onnx

from convert.caffe.network import Layer, Network
from convert.fold import fold
from convert.graph import BATCH, GraphBuilder, Shape, Value
from convert.layers.registry import Handler, LayerError
from convert.outputs.decoding import candidates
from convert.outputs.detection_output import DetectionOutput, read
from convert.outputs.preprocessing import IMAGES, Preprocessing
from convert.outputs.suppression import suppress
from convert.translate import build_graph
from geometry.arrays import F32
from sfd.errors import SfdError, UsageError

DATA = "data"
BOXES, SCORES, DETECTIONS = "boxes", "scores", "detections"
DETECTION_OUTPUT = "DetectionOutput"


class Kind(StrEnum):
    """What a file gives out; DESIGN has the table of inputs and outputs."""

    HEADS = "heads"
    DETECTIONS = "detections"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class DetectorBlobs:
    """The detector's end: its parameters and the names of the blobs that it decodes."""

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
    """None for raw."""
    heads: DetectorBlobs | None
    """None where the network does not end in a DetectionOutput."""
    values: Mapping[str, str]
    """The ONNX value of each blob of the network that a node of the model makes."""
    shapes: Mapping[str, Shape]
    """The shape of each blob of the network, the batch open."""


def default_kind(network: Network) -> Kind:
    """`heads` for a detector, `raw` for any other network."""
    return Kind.HEADS if _detectors(network) else Kind.RAW


def build(network: Network, kind: Kind, preprocessing: Preprocessing | None, name: str) -> Built:
    """Translate a network and frame it as a kind. Raises SfdError for all that hinders it."""
    check_input(network)
    detectors = _detectors(network)
    if kind is not Kind.RAW and len(detectors) != 1:
        ends = "several DetectionOutput layers" if detectors else "no DetectionOutput layer"
        raise UsageError(f"the network has {ends}, which {kind} needs: convert with --output raw")
    network = _renamed(network, _own_names(kind))
    graph = GraphBuilder()
    blob, shape = next(iter(network.inputs.items()))
    channels, height, width = shape[1:]
    if kind is Kind.RAW:
        graph.bind(blob, graph.input(DATA, (BATCH, channels, height, width)))
        build_graph(network, graph)
        for top in network.outputs:
            graph.output(top, graph.blobs[top])
    else:
        preprocessing = preprocessing or Preprocessing.of(channels)
        preprocessing.add(graph, (channels, height, width), blob)
        end = Handler(DETECTION_OUTPUT, _heads if kind is Kind.HEADS else _rows, (3, None), (1, 1))
        build_graph(network, graph, {DETECTION_OUTPUT: end})
        for output in (BOXES, SCORES) if kind is Kind.HEADS else (DETECTIONS,):
            graph.output(output, graph.values[output])
    fold(graph)
    made = {output for node in graph.needed_nodes() for output in node.outputs}
    return Built(
        kind=kind,
        model=graph.model(name),
        network=network,
        preprocessing=None if kind is Kind.RAW else preprocessing,
        heads=_read_heads(_detectors(network), graph),
        values={blob: value.name for blob, value in graph.blobs.items() if value.name in made},
        shapes={blob: value.shape for blob, value in graph.blobs.items()},
    )


def check_input(network: Network) -> None:
    """Raise SfdError unless the network takes one image."""
    if not network.layers:
        raise SfdError("the prototxt has no layers: give the deploy prototxt of the network")
    if len(network.inputs) != 1:
        names = ", ".join(network.inputs) or "none"
        raise SfdError(
            f"the network must take one input, the image, but its inputs are: {names}; "
            "use the deploy prototxt, and remove inputs that are no image"
        )
    blob, shape = next(iter(network.inputs.items()))
    if len(shape) != 4 or min(shape) < 1:
        raise SfdError(
            f"input {blob} has shape {list(shape)}: expected batch, channels, height, width"
        )


def _detectors(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if layer.type == DETECTION_OUTPUT]


def _read_heads(detectors: Sequence[Layer], graph: GraphBuilder) -> DetectorBlobs | None:
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
    found = candidates(detection, graph, *bottoms[:3], boxes_name=BOXES, scores_name=SCORES)
    return found.scores


def _rows(layer: Layer, graph: GraphBuilder, bottoms: Sequence[Value]) -> Value:
    """DetectionOutput rows."""
    detection = read(layer)
    return suppress(detection, graph, candidates(detection, graph, *bottoms[:3]), DETECTIONS)


def _own_names(kind: Kind) -> tuple[str, ...]:
    return {
        Kind.RAW: (DATA,),
        Kind.HEADS: (IMAGES, BOXES, SCORES),
        Kind.DETECTIONS: (IMAGES, DETECTIONS),
    }[kind]


def _renamed(network: Network, taken: Sequence[str]) -> Network:
    """The network with other names for its tops that are called like our inputs and outputs."""

    def name(blob: str) -> str:
        return f"caffe/{blob}" if blob in taken and blob not in network.inputs else blob

    layers = tuple(
        replace(
            layer,
            bottoms=tuple(map(name, layer.bottoms)),
            tops=tuple(map(name, layer.tops)),
        )
        for layer in network.layers
    )
    return replace(network, layers=layers, outputs=tuple(map(name, network.outputs)))
