"""The part of the graph that turns loc, conf and priors into boxes and scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.graph import BATCH, GraphBuilder, Value
from convert.layers.blobs import reshape
from convert.layers.registry import LayerError
from convert.outputs.detection_output import DetectionOutput
from geometry.arrays import F64
from geometry.coding import CodeType


@dataclass(frozen=True, slots=True)
class DecodedValues:
    """The decoded boxes and scores from which NMS chooses."""

    boxes: Value
    """[batch, priors, 4] where all foreground classes share the box of a prior, else
    [batch, classes, priors, 4]."""
    scores: Value
    """[batch, priors, classes], of the foreground classes."""

    @property
    def shared(self) -> bool:
        """Whether a prior has one box, not one for each class."""
        return self.boxes.rank == 3


def predictions(bottoms: Sequence[Value]) -> tuple[Value, Value, Value]:
    """Loc, conf and priors of a DetectionOutput. A fourth bottom must be the image, and is unused.

    RefineDet's is the confidence of a first step, by which it drops priors.
    """
    loc, conf, priors, *image = bottoms
    if image and image[0].rank != 4:
        raise LayerError(
            f"the fourth bottom is {image[0].name}, not the image: it refines boxes in two steps, "
            "as RefineDet does, which is not supported"
        )
    return loc, conf, priors


def decode_values(
    detection: DetectionOutput,
    graph: GraphBuilder,
    loc: Value,
    conf: Value,
    priors: Value,
    *,
    boxes_name: str | None = None,
    scores_name: str | None = None,
) -> DecodedValues:
    """Decode every prior's box and pick the foreground scores.

    `loc` holds [priors, location classes, 4] for each image, `conf` [priors, classes], `priors` is
    the constant of PriorBox layers, [1, 2, priors * 4]. The two names are for graph outputs.
    """
    count = _check(detection, loc, conf, priors)
    assert priors.constant is not None
    boxes, variances = priors.constant.reshape(2, count, 4).astype(np.float64)
    codes = _codes(detection, graph, loc, count)
    return DecodedValues(
        boxes=_decode(detection, graph, codes, boxes, variances, boxes_name),
        scores=_foreground(detection, graph, conf, count, scores_name),
    )


def _check(detection: DetectionOutput, loc: Value, conf: Value, priors: Value) -> int:
    """The number of priors; LayerError where the three bottoms don't fit together."""
    if priors.constant is None:
        raise LayerError("the third bottom must come from PriorBox layers only")
    if priors.rank != 3 or priors.shape[:2] != (1, 2) or priors.static(2) % 4:
        raise LayerError(
            f"the third bottom must have the shape [1, 2, priors * 4], found {priors.shape}"
        )
    count = priors.static(2) // 4
    problems: list[str] = []
    for value, kind, numbers in (
        (loc, "location", 4 * detection.location_classes),
        (conf, "confidence", detection.classes),
    ):
        found = math.prod(value.static(axis) for axis in range(1, value.rank))
        if found != count * numbers:
            problems.append(
                f"{count} priors need {count * numbers} {kind} values for each image "
                f"({numbers} for each prior), but {value.name} has {found}: check num_classes, "
                "share_location and the priors"
            )
    if problems:
        raise LayerError(*problems)
    return count


def _codes(detection: DetectionOutput, graph: GraphBuilder, loc: Value, count: int) -> Value:
    """Location predictions as [batch, priors, 4] or, for several classes, with them as axis 1."""
    classes = detection.location_classes
    if classes == 1:
        return reshape(graph, loc, (0, count, 4), (BATCH, count, 4))
    codes = reshape(graph, loc, (0, count, classes, 4), (BATCH, count, classes, 4))
    codes = _select(graph, codes, detection.labels, 2)
    foreground = len(detection.labels)
    if foreground == 1:
        return reshape(graph, codes, (0, count, 4), (BATCH, count, 4))
    shape = (BATCH, foreground, count, 4)
    return graph.node("Transpose", [codes], shape, perm=(0, 2, 1, 3))


def _decode(
    detection: DetectionOutput,
    graph: GraphBuilder,
    codes: Value,
    priors: F64,
    variances: F64,
    name: str | None,
) -> Value:
    """geometry.coding.decode as ONNX. What doesn't depend on the codes is computed now."""
    if detection.variance_encoded_in_target:
        variances = np.ones_like(variances)
    sides = priors[:, 2:] - priors[:, :2]
    shape = codes.shape
    last = None if detection.clip else name
    if detection.code_type is CodeType.CENTER_SIZE:
        half_shape = (*shape[:-1], 2)
        moves, growths = graph.node_with_outputs(
            "Split",
            [codes, graph.constant(np.asarray([2, 2], np.int64), "halves")],
            [half_shape, half_shape],
            axis=codes.rank - 1,
        )
        centres = _add_scaled(
            graph, moves, variances[:, :2] * sides, (priors[:, :2] + priors[:, 2:]) / 2
        )
        growths = _mul(graph, growths, variances[:, 2:], "size_variances")
        growths = graph.node("Exp", [growths], half_shape)
        half = _mul(graph, growths, sides / 2, "half_sizes")
        corners = [graph.node(operator, [centres, half], half_shape) for operator in ("Sub", "Add")]
        boxes = graph.node("Concat", corners, shape, name=last, axis=codes.rank - 1)
    else:
        reach = variances
        if detection.code_type is CodeType.CORNER_SIZE:
            reach = variances * np.concatenate([sides, sides], axis=1)
        boxes = _add_scaled(graph, codes, reach, priors, last)
    if detection.clip:
        limits = [graph.constant(np.float32(limit).reshape(()), "limit") for limit in (0, 1)]
        boxes = graph.node("Clip", [boxes, *limits], shape, name=name)
    return boxes


def _foreground(
    detection: DetectionOutput, graph: GraphBuilder, conf: Value, count: int, name: str | None
) -> Value:
    """Scores [batch, priors, classes] without the background."""
    labels = detection.labels
    whole = len(labels) == detection.classes
    shape = (BATCH, count, detection.classes)
    scores = reshape(graph, conf, (0, count, detection.classes), shape, name if whole else None)
    return scores if whole else _select(graph, scores, labels, 2, name)


def _select(
    graph: GraphBuilder, value: Value, labels: tuple[int, ...], axis: int, name: str | None = None
) -> Value:
    """The part of an axis of all classes that has these labels: a Slice if they are adjacent."""
    shape = (*value.shape[:axis], len(labels), *value.shape[axis + 1 :])
    first, last = labels[0], labels[-1]
    if last - first + 1 == len(labels):
        bounds = [
            graph.constant(np.asarray([bound], np.int64), "bound")
            for bound in (first, last + 1, axis)
        ]
        return graph.node("Slice", [value, *bounds], shape, name=name)
    indices = graph.constant(np.asarray(labels, np.int64), "labels")
    return graph.node("Gather", [value, indices], shape, name=name, axis=axis)


def _mul(graph: GraphBuilder, value: Value, factor: F64, name: str) -> Value:
    if np.all(factor == 1):
        return value
    constant = graph.constant(factor.astype(np.float32), name)
    return graph.node("Mul", [value, constant], value.shape)


def _add_scaled(
    graph: GraphBuilder,
    value: Value,
    factor: F64,
    offset: F64,
    name: str | None = None,
) -> Value:
    scaled = _mul(graph, value, factor, "reach")
    constant = graph.constant(offset.astype(np.float32), "centres")
    return graph.node("Add", [scaled, constant], value.shape, name=name)
