"""Layers that pool regions of interest, region by region: ROIPooling, PSROIPooling, ROIAlign."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("ROIPooling", jumps=True)
def roi_pooling(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The maximum of each part of each region, 0 where it is empty (roi_pooling_layer.cpp)."""
    x, rois = bottoms[0], bottoms[1].reshape(-1, 5)
    parameter = layer.parameter.roi_pooling_param
    high, wide = parameter.pooled_h, parameter.pooled_w
    y = np.zeros((len(rois), x.shape[1], high, wide))
    for index, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (_round(corner * parameter.spatial_scale) for corner in corners)
        down = max(bottom - top + 1, 1) / high
        across = max(right - left + 1, 1) / wide
        for row in range(high):
            for column in range(wide):
                part = x[
                    int(image),
                    :,
                    max(math.floor(row * down) + top, 0) : max(
                        math.ceil((row + 1) * down) + top, 0
                    ),
                    max(math.floor(column * across) + left, 0) : max(
                        math.ceil((column + 1) * across) + left, 0
                    ),
                ]
                if part[0].size:
                    y[index, :, row, column] = part.max(axis=(1, 2))
    return y


@formula("PSROIPooling", jumps=True)
def psroi_pooling(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The mean of each part of each region, from channels of its own (psroi_pooling_layer.cu)."""
    x, rois = bottoms[0], bottoms[1].reshape(-1, 5)
    parameter = layer.parameter.psroi_pooling_param
    group, outputs = parameter.group_size, parameter.output_dim
    scale = parameter.spatial_scale
    y = np.zeros((len(rois), outputs, group, group))
    for index, (image, *corners) in enumerate(rois):
        left, top = (_round(corner) * scale for corner in corners[:2])
        right, bottom = ((_round(corner) + 1) * scale for corner in corners[2:])
        across, down = max(right - left, 0.1) / group, max(bottom - top, 0.1) / group
        for row in range(group):
            for column in range(group):
                rows = _clipped(row * down + top, (row + 1) * down + top, x.shape[2])
                columns = _clipped(column * across + left, (column + 1) * across + left, x.shape[3])
                for output in range(outputs):
                    channel = (output * group + row) * group + column
                    part = x[int(image), channel, rows, columns]
                    if part.size:
                        y[index, output, row, column] = part.mean()
    return y


@formula("ROIAlign")
def roi_align(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The mean of bilinear samples in each part of each region (Caffe2's roi_align_op.cc)."""
    x, rois = bottoms[0], bottoms[1].reshape(-1, 5)
    parameter = layer.parameter.roi_align_param
    high, wide = parameter.pooled_h, parameter.pooled_w
    shift = 0.5 if parameter.aligned else 0.0
    y = np.zeros((len(rois), x.shape[1], high, wide))
    for index, (image, *corners) in enumerate(rois):
        left, top, right, bottom = (corner * parameter.spatial_scale - shift for corner in corners)
        height, width = bottom - top, right - left
        if not parameter.aligned:
            height, width = max(height, 1), max(width, 1)
        down, across = height / high, width / wide
        samples_down = parameter.sampling_ratio if parameter.sampling_ratio > 0 else math.ceil(down)
        samples = parameter.sampling_ratio if parameter.sampling_ratio > 0 else math.ceil(across)
        for row in range(high):
            for column in range(wide):
                total = np.zeros(x.shape[1])
                for v in range(samples_down):
                    for u in range(samples):
                        total += _sample(
                            x[int(image)],
                            top + (row + (v + 0.5) / samples_down) * down,
                            left + (column + (u + 0.5) / samples) * across,
                        )
                y[index, :, row, column] = total / max(samples_down * samples, 1)
    return y


def _sample(image: F64, y: float, x: float) -> F64:
    """The value [channels] between four pixels; 0 more than a pixel outside."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = image[:, top, left] * (1 - u) + image[:, top, right] * u
    lower = image[:, bottom, left] * (1 - u) + image[:, bottom, right] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _round(number: float) -> int:
    """C's round, which rounds halves away from zero."""
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _clipped(begin: float, end: float, length: int) -> slice:
    """The pixels from begin to end that lie in the image."""
    return slice(min(max(math.floor(begin), 0), length), min(max(math.ceil(end), 0), length))
