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
    corners = np.asarray([box for _, box in boxes]).reshape(-1, 4)
    alive = np.ones(len(boxes), bool)
    kept: list[tuple[float, list[float]]] = []
    for index, scored in enumerate(boxes):
        if alive[index]:
            kept.append(scored)
            alive &= _overlaps(corners[index], corners) <= limit
    return kept


def _overlaps(box: F64, others: F64) -> F64:
    """IoU of a box with others, where a width counts both ends."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + 1
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2] + 1).prod(axis=1)
    return np.asarray(common / ((box[2:] - box[:2] + 1).prod() + areas - common))
