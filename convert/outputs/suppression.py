"""The part of the graph that turns boxes and scores into Caffe's detection rows.

Caffe, for each image: of each foreground class the boxes with a score above the threshold, the
best top_k of these, greedy NMS; then the best keep_top_k of all classes together. Rows come by
image, then label, then descending score. ONNX's NonMaxSuppression has no top_k, so TopK ranks the
scores of each class first, and every class of every image becomes an NMS batch entry of its own.
"""

import math

import numpy as np

from convert.graph import BATCH, GraphBuilder, Shape, Value
from convert.layers.blobs import reshape
from convert.outputs.decoding import DecodedValues
from convert.outputs.detection_output import DetectionOutput
from geometry.coding import CodeType

ROWS = "detections"
"""The name of the open dimension that counts the detections."""
SELECTED = "selected"
"""The name of the dimension that counts what NMS selects, before keep_top_k. It differs from ROWS,
because runtimes share memory between values whose dimensions have one name."""


def suppress(
    detection: DetectionOutput, graph: GraphBuilder, decoded: DecodedValues, name: str | None = None
) -> Value:
    """Rows [n, 7] of image, label, score, x1, y1, x2, y2; none where nothing is found.

    Caffe can't have an empty blob and writes rows of -1 then; an empty array says it plainly.
    """
    classes = len(detection.labels)
    count = decoded.scores.static(1)
    ranks = count if detection.top_k < 0 else min(count, detection.top_k)
    scores, boxes = _ranked(graph, decoded, classes, count, ranks)
    kept = _nms(detection, graph, scores, boxes, classes, ranks)
    kept = _keep_top_k(detection, graph, kept, classes * ranks)
    return _rows(detection, graph, kept, boxes, ranks, name)


def _ranked(
    graph: GraphBuilder, decoded: DecodedValues, classes: int, count: int, ranks: int
) -> tuple[Value, Value]:
    """The best scores [batch, classes, ranks] of each class, and their boxes [.., ranks, 4]."""
    shape: Shape = (BATCH, classes, count)
    by_class = (
        reshape(graph, decoded.scores, (0, 1, count), shape)
        if classes == 1
        else graph.node("Transpose", [decoded.scores], shape, perm=(0, 2, 1))
    )
    best: Shape = (BATCH, classes, ranks)
    # TopK puts the lower index first where scores are equal, as Caffe's stable sort does.
    scores, indices = graph.node_with_outputs(
        "TopK",
        [by_class, graph.constant(np.asarray([ranks], np.int64), "ranks")],
        [best, best],
        dtypes=[np.float32, np.int64],
        axis=2,
    )
    if decoded.shared:
        flat = reshape(graph, indices, (0, classes * ranks, 1), (BATCH, classes * ranks, 1))
        boxes = graph.node(
            "GatherND", [decoded.boxes, flat], (BATCH, classes * ranks, 4), batch_dims=1
        )
        return scores, reshape(graph, boxes, (0, classes, ranks, 4), (*best, 4))
    last = reshape(graph, indices, (0, classes, ranks, 1), (*best, 1))
    return scores, graph.node("GatherND", [decoded.boxes, last], (*best, 4), batch_dims=2)


def _nms(
    detection: DetectionOutput,
    graph: GraphBuilder,
    scores: Value,
    boxes: Value,
    classes: int,
    ranks: int,
) -> Value:
    """The scores [batch, classes * ranks], with minus infinity for each that isn't kept."""
    entries = BATCH if classes == 1 else f"{BATCH}*{classes}"
    entry_boxes = reshape(graph, boxes, (-1, ranks, 4), (entries, ranks, 4))
    if detection.code_type is not CodeType.CENTER_SIZE:
        entry_boxes = _unswapped(graph, entry_boxes)
    entry_scores = reshape(graph, scores, (-1, 1, ranks), (entries, 1, ranks))
    limits = [
        graph.constant(np.asarray([ranks], np.int64), "most"),
        # ONNX allows 0-1; at 1 and above nothing is dropped.
        graph.constant(np.asarray([min(detection.nms_threshold, 1)], np.float32), "nms_threshold"),
    ]
    if detection.confidence_threshold > -math.inf:
        threshold = np.asarray([detection.confidence_threshold], np.float32)
        limits.append(graph.constant(threshold, "confidence_threshold"))
    selected = graph.node(
        "NonMaxSuppression", [entry_boxes, entry_scores, *limits], (SELECTED, 3), dtype=np.int64
    )
    selected_scores = graph.node("GatherND", [entry_scores, selected], (SELECTED,))
    kept = graph.node(
        "ScatterND",
        [_nothing(graph, entry_scores), selected, selected_scores],
        entry_scores.shape,
    )
    return reshape(graph, kept, (-1, classes * ranks), (BATCH, classes * ranks))


def _unswapped(graph: GraphBuilder, boxes: Value) -> Value:
    """Boxes whose second corner is at least the first.

    In Caffe a box with swapped corners has no area and overlaps nothing; ONNX would swap them back.
    """
    half: Shape = (*boxes.shape[:-1], 2)
    first, second = graph.node_with_outputs(
        "Split",
        [boxes, graph.constant(np.asarray([2, 2], np.int64), "halves")],
        [half, half],
        axis=boxes.rank - 1,
    )
    second = graph.node("Max", [first, second], half)
    return graph.node("Concat", [first, second], boxes.shape, axis=boxes.rank - 1)


def _keep_top_k(detection: DetectionOutput, graph: GraphBuilder, kept: Value, slots: int) -> Value:
    """The scores with only the best keep_top_k of each image, in their places."""
    if not 0 <= detection.keep_top_k < slots:
        return kept
    best: Shape = (BATCH, detection.keep_top_k)
    scores, places = graph.node_with_outputs(
        "TopK",
        [kept, graph.constant(np.asarray([detection.keep_top_k], np.int64), "keep_top_k")],
        [best, best],
        dtypes=[np.float32, np.int64],
        axis=1,
    )
    return graph.node(
        "ScatterElements", [_nothing(graph, kept), places, scores], kept.shape, axis=1
    )


def _rows(
    detection: DetectionOutput,
    graph: GraphBuilder,
    kept: Value,
    boxes: Value,
    ranks: int,
    name: str | None,
) -> Value:
    """A row for each score that is kept, in Caffe's order."""
    classes = len(detection.labels)
    kept = reshape(graph, kept, (0, classes, ranks), (BATCH, classes, ranks))
    found = graph.node("Greater", [kept, _minus_infinity(graph)], kept.shape, dtype=np.bool_)
    places = graph.node("NonZero", [found], (3, ROWS), dtype=np.int64)
    places = graph.node("Transpose", [places], (ROWS, 3), dtype=np.int64, perm=(1, 0))
    image, label, _ = graph.node_with_outputs(
        "Split",
        [places, graph.constant(np.asarray([1, 1, 1], np.int64), "thirds")],
        [(ROWS, 1)] * 3,
        dtypes=[np.int64] * 3,
        axis=1,
    )
    labels = graph.constant(np.asarray(detection.labels, np.float32), "labels")
    score = graph.node("GatherND", [kept, places], (ROWS,))
    columns = [
        graph.node("Cast", [image], (ROWS, 1), to=1),
        graph.node("Gather", [labels, label], (ROWS, 1), axis=0),
        reshape(graph, score, (-1, 1), (ROWS, 1)),
        graph.node("GatherND", [boxes, places], (ROWS, 4)),
    ]
    return graph.node("Concat", columns, (ROWS, 7), name=name, axis=1)


def _nothing(graph: GraphBuilder, like: Value) -> Value:
    """Minus infinity in the shape of another value."""
    shape = graph.node("Shape", [like], (like.rank,), dtype=np.int64)
    return graph.node("Expand", [_minus_infinity(graph), shape], like.shape)


def _minus_infinity(graph: GraphBuilder) -> Value:
    return graph.constant(np.asarray([-np.inf], np.float32), "nothing")
