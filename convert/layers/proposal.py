"""Proposal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Shape, Value
from convert.layers.blobs import image_size, reshape, text
from convert.layers.registry import LayerError, handler
from geometry.arrays import F32

OTHER_FORM = ("anchor_base_size", "anchor_scale", "anchor_ratio", "max_rois", "iou_threshold",
              "output_actual_rois_num")  # fmt: skip
"""Fields of a different layer with this name, whose formula is not public."""


@handler("Proposal", bottoms=3, tops=(1, 2))
def proposal(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The best boxes of a region proposal network after NMS: rows of image, x1, y1, x2, y2.

    Bottoms are scores [batch, 2 · anchors, height, width], the second half foreground; deltas; and
    im_info with height, width and scale of the image (one scale, or one each for height and
    width). Boxes are decoded from anchors, clipped, and of score 0 where a side is below min_size
    times the scale; of the best pre_nms_topn NMS keeps post_nms_topn. A width is x2 − x1 + 1. A
    second top has the scores. Caffe, PVANet's and Intel's: src/caffe/layers/proposal_layer.cpp.
    """
    scores, deltas, info = inputs
    parameter = layer.parameter.proposal_param
    anchors = _anchors(layer)
    count = len(anchors)
    height, width = image_size(scores)
    expected = (scores.shape[0], 4 * count, height, width)
    if scores.static(1) != 2 * count or deltas.shape != expected:
        raise LayerError(
            f"{count} anchors (ratios times scales) need scores of {2 * count} channels and deltas "
            f"of shape {text(expected)}, found {text(scores.shape)} and {text(deltas.shape)}"
        )
    image = _Image.of(layer, graph, info)
    corners = _decoded(layer, graph, deltas, _grid(layer, anchors, (height, width)), image)
    ranked = _scores(layer, graph, scores, corners, image)
    total = count * height * width
    ranks = min(total, parameter.pre_nms_topn)
    batch = scores.shape[0]
    most = graph.constant(np.array([ranks], np.int64), f"{layer.name}/pre_nms_topn")
    best, order = graph.node_with_outputs(
        "TopK", [ranked, most], [(batch, ranks)] * 2, dtypes=[np.float32, np.int64], axis=1
    )
    order = reshape(graph, order, (0, ranks, 1), (batch, ranks, 1))
    boxes = graph.node("Concat", corners, (batch, total, 4), axis=2)
    boxes = graph.node("GatherND", [boxes, order], (batch, ranks, 4), batch_dims=1)
    places = _suppress(layer, graph, boxes, best)
    rows = places.shape[0]
    owner = graph.constant(np.array([0], np.int64), f"{layer.name}/owner")
    images = graph.node("Gather", [places, owner], (rows, 1), dtype=np.int64, axis=1)
    images = graph.node("Cast", [images], (rows, 1), to=TensorProto.FLOAT)
    found = graph.node("GatherND", [boxes, places], (rows, 4))
    rois = graph.node("Concat", [images, found], (rows, 5), name=layer.tops[0], axis=1)
    if len(layer.tops) == 1:
        return [rois]
    return [rois, graph.node("GatherND", [best, places], (rows,), name=layer.tops[1])]


def anchor_boxes(base_size: float, ratios: Sequence[float], scales: Sequence[float]) -> F32:
    """The anchors of one cell, [ratios · scales, 4], as Caffe computes them in float32."""
    base, one, half = np.float32(base_size), np.float32(1), np.float32(0.5)
    center = half * (base - one)
    boxes = []
    for ratio in np.asarray(ratios, np.float32):
        wide = np.floor(np.sqrt(base * base / ratio) + half)
        high = np.floor(wide * ratio + half)
        for scale in np.asarray(scales, np.float32):
            reach = half * (np.array([wide, high]) * scale - one)
            boxes.append(
                [center - reach[0], center - reach[1], center + reach[0], center + reach[1]]
            )
    return np.array(boxes, np.float32).reshape(-1, 4)


@dataclass(frozen=True)
class _Image:
    """The values of im_info for each image, [batch, 1, 2] with x first."""

    limit: Value
    """The last column and row."""
    smallest: Value
    """The least width and height of a box."""

    @classmethod
    def of(cls, layer: Layer, graph: GraphBuilder, info: Value) -> "_Image":
        numbers = info.static(1) if info.rank > 1 else 0
        if numbers < 3 or any(dim != 1 for dim in info.shape[2:]):
            raise LayerError(
                "expected im_info of shape [batch, 3] (height, width, scale) or more, found "
                f"{text(info.shape)}"
            )
        info = reshape(graph, info, (0, 1, numbers), (info.shape[0], 1, numbers))
        shape: Shape = (info.shape[0], 1, 2)
        scale = [3, 2] if numbers > 3 else [2, 2]
        size_at = graph.constant(np.array([1, 0], np.int64), f"{layer.name}/size_at")
        scale_at = graph.constant(np.array(scale, np.int64), f"{layer.name}/scale_at")
        one = graph.constant(np.float32(1), f"{layer.name}/one")
        least = np.float32(layer.parameter.proposal_param.min_size)
        size = graph.node("Gather", [info, size_at], shape, axis=2)
        scales = graph.node("Gather", [info, scale_at], shape, axis=2)
        return cls(
            limit=graph.node("Sub", [size, one], shape),
            smallest=graph.node(
                "Mul", [scales, graph.constant(least, f"{layer.name}/min_size")], shape
            ),
        )


def _anchors(layer: Layer) -> F32:
    parameter = layer.parameter.proposal_param
    other = [name for name in OTHER_FORM if parameter.HasField(name)]
    if other:
        raise LayerError(f"{other[0]} belongs to a different layer with this name, whose formula "
        f"is not public; convert the part before it")  # fmt: skip
    if not parameter.ratio or not parameter.scale:
        raise LayerError("state each ratio and scale of the anchors")
    if min(parameter.pre_nms_topn, parameter.post_nms_topn) < 1:
        raise LayerError("pre_nms_topn and post_nms_topn must be at least 1")
    if not 0 <= parameter.nms_thresh <= 1:
        raise LayerError(f"nms_thresh is {parameter.nms_thresh:g}; expected a number from 0 to 1")
    with np.errstate(all="ignore"):  # checked below
        anchors = anchor_boxes(parameter.base_size, parameter.ratio, parameter.scale)
    if not (np.isfinite(anchors).all() and np.isfinite(parameter.feat_stride)):
        raise LayerError(
            "base_size, ratio, scale and feat_stride must be finite, and ratio above 0"
        )
    return anchors


def _grid(layer: Layer, anchors: F32, size: tuple[int, int]) -> F32:
    """The anchors of all cells, [height · width · anchors, 4]."""
    height, width = size
    stride = np.float32(layer.parameter.proposal_param.feat_stride)
    down, across = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    shifts = np.stack([across, down, across, down], axis=-1).astype(np.float32) * stride
    return np.asarray((shifts[:, :, None] + anchors).reshape(-1, 4), np.float32)


def _decoded(
    layer: Layer, graph: GraphBuilder, deltas: Value, anchors: F32, image: _Image
) -> list[Value]:
    """The first and the last corners, each [batch, boxes, 2], within the image."""
    batch, total = deltas.shape[0], len(anchors)
    places = deltas.static(2) * deltas.static(3)
    count = total // places
    codes = reshape(graph, deltas, (0, count, 4, places), (batch, count, 4, places))
    codes = graph.node("Transpose", [codes], (batch, places, count, 4), perm=(0, 3, 1, 2))
    codes = reshape(graph, codes, (0, total, 4), (batch, total, 4))
    half, one = np.float32(0.5), np.float32(1)
    sizes = anchors[:, 2:] - anchors[:, :2] + one
    centres = anchors[:, :2] + half * sizes
    shape: Shape = (batch, total, 2)
    halves = graph.constant(np.array([2, 2], np.int64), f"{layer.name}/halves")
    moves, growths = graph.node_with_outputs("Split", [codes, halves], [shape, shape], axis=2)
    known = graph.constant(sizes, f"{layer.name}/sizes")
    moved = graph.node("Mul", [moves, known], shape)
    moved = graph.node("Add", [moved, graph.constant(centres, f"{layer.name}/centres")], shape)
    grown = graph.node("Mul", [graph.node("Exp", [growths], shape), known], shape)
    reach = graph.node("Mul", [grown, graph.constant(half, f"{layer.name}/half")], shape)
    zero = graph.constant(np.float32(0), f"{layer.name}/zero")
    corners: list[Value] = []
    for operator in ("Sub", "Add"):
        corner = graph.node(operator, [moved, reach], shape)
        corner = graph.node("Min", [corner, image.limit], shape)
        corners.append(graph.node("Max", [corner, zero], shape))
    return corners


def _scores(
    layer: Layer, graph: GraphBuilder, scores: Value, corners: Sequence[Value], image: _Image
) -> Value:
    """The foreground scores [batch, boxes], 0 where the box is too small."""
    batch, channels = scores.shape[0], scores.static(1)
    height, width = image_size(scores)
    count, places = channels // 2, height * width
    bounds = [
        graph.constant(np.array([number], np.int64), f"{layer.name}/{kind}")
        for kind, number in (("start", count), ("end", channels), ("axis", 1))
    ]
    front = graph.node("Slice", [scores, *bounds], (batch, count, height, width))
    front = reshape(graph, front, (0, count, places), (batch, count, places))
    front = graph.node("Transpose", [front], (batch, places, count), perm=(0, 2, 1))
    total = places * count
    front = reshape(graph, front, (0, total), (batch, total))
    first, last = corners
    one = graph.constant(np.float32(1), f"{layer.name}/one")
    sides = graph.node("Add", [graph.node("Sub", [last, first], first.shape), one], first.shape)
    large = graph.node("GreaterOrEqual", [sides, image.smallest], first.shape, dtype=np.bool_)
    large = graph.node("Cast", [large], first.shape, to=TensorProto.FLOAT)
    both = graph.node("ReduceMin", [large], (batch, total), axes=[2], keepdims=0)
    return graph.node("Mul", [front, both], (batch, total))


def _suppress(layer: Layer, graph: GraphBuilder, boxes: Value, scores: Value) -> Value:
    """The boxes that NMS keeps: rows of image and rank, [kept, 2]."""
    parameter = layer.parameter.proposal_param
    batch, ranks = boxes.shape[0], boxes.static(1)
    # With x2 + 1 and y2 + 1 as the last corner, ONNX computes Caffe's areas.
    edge = graph.constant(np.array([0, 0, 1, 1], np.float32), f"{layer.name}/edge")
    outer = graph.node("Add", [boxes, edge], boxes.shape)
    limits = [
        graph.constant(
            np.array([parameter.post_nms_topn], np.int64), f"{layer.name}/post_nms_topn"
        ),
        graph.constant(np.array([parameter.nms_thresh], np.float32), f"{layer.name}/nms_thresh"),
    ]
    single = reshape(graph, scores, (0, 1, ranks), (batch, 1, ranks))
    kept = f"{layer.name}/kept"
    selected = graph.node("NonMaxSuppression", [outer, single, *limits], (kept, 3), dtype=np.int64)
    picks = graph.constant(np.array([0, 2], np.int64), f"{layer.name}/picks")
    return graph.node("Gather", [selected, picks], (kept, 2), dtype=np.int64, axis=1)
