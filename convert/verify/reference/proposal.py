"""Proposal, box by box."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F32, F64


@formula("Proposal", jumps=True)
def proposal(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """The boxes that NMS keeps, as rows of image, x1, y1, x2, y2, and their scores.

    Widths count both ends: x2 - x1 + 1 (proposal_layer.cpp of PVANet's Caffe and Intel's). Scores
    and boxes are float32, as the layer has them, because their order decides what is kept.
    """
    scores, deltas, info = bottoms
    parameter = layer.parameter.proposal_param
    anchors = _anchors(parameter)
    rows: list[list[float]] = []
    kept_scores: list[float] = []
    for image in range(len(scores)):
        height, width, *scales = info.reshape(len(info), -1)[min(image, len(info) - 1)]
        least = parameter.min_size * np.asarray([scales[-1 if len(scales) > 1 else 0], scales[0]])
        found: list[tuple[float, list[float]]] = []
        for row in range(scores.shape[2]):
            for column in range(scores.shape[3]):
                for index, anchor in enumerate(anchors):
                    shift = np.asarray([column, row, column, row]) * parameter.feat_stride
                    code = deltas[image, 4 * index : 4 * index + 4, row, column]
                    box = _decoded(anchor + shift, code, width, height)
                    sides = (box[2] - box[0] + 1, box[3] - box[1] + 1)
                    large = sides[0] >= least[0] and sides[1] >= least[1]
                    score = scores[image, len(anchors) + index, row, column] * large
                    found.append((float(np.float32(score)), box))
        order = sorted(range(len(found)), key=lambda place: -found[place][0])
        best = [found[place] for place in order[: parameter.pre_nms_topn]]
        for score, box in _suppressed(best, parameter.nms_thresh)[: parameter.post_nms_topn]:
            rows.append([float(image), *box])
            kept_scores.append(score)
    tops = [np.asarray(rows, np.float64).reshape(-1, 5), np.asarray(kept_scores, np.float64)]
    return tops[: len(layer.tops)]


def _anchors(parameter: caffe_pb2.ProposalParameter) -> F32:
    """The anchors [ratios · scales, 4] of one place (GenerateAnchors)."""
    base = parameter.base_size
    centre = 0.5 * (base - 1)
    boxes = []
    for ratio in parameter.ratio:
        wide = math.floor(math.sqrt(base * base / ratio) + 0.5)
        high = math.floor(wide * ratio + 0.5)
        for scale in parameter.scale:
            x, y = 0.5 * (wide * scale - 1), 0.5 * (high * scale - 1)
            boxes.append([centre - x, centre - y, centre + x, centre + y])
    return np.asarray(boxes, np.float32)


def _decoded(anchor: F64, code: F64, width: float, height: float) -> list[float]:
    """A box within the image."""
    w, h = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    x, y = anchor[0] + 0.5 * w + code[0] * w, anchor[1] + 0.5 * h + code[1] * h
    reach_x, reach_y = 0.5 * w * np.exp(code[2]), 0.5 * h * np.exp(code[3])
    corners = (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
    limits = (width - 1, height - 1) * 2
    return [float(np.clip(corner, 0, limit)) for corner, limit in zip(corners, limits, strict=True)]


def _suppressed(
    boxes: Sequence[tuple[float, list[float]]], limit: float
) -> list[tuple[float, list[float]]]:
    """The boxes that overlap no better one by more than the limit."""
    kept: list[tuple[float, list[float]]] = []
    for score, box in boxes:
        if all(_overlap(box, other) <= limit for _, other in kept):
            kept.append((score, box))
    return kept


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes that count both ends."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return wide * high / (areas[0] + areas[1] - wide * high)
