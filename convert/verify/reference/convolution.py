"""Convolution and Deconvolution, as one matrix product for each position of the kernel."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula(
    "Convolution",
    "ConvolutionDW",
    "ConvolutionDepthwise",
    "DepthwiseConv",
    "DepthwiseConvolution",
)
def convolution(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """y[o, r, c] = bias[o] + Σ weight[o, i, u, v] · x[i, r·stride + u·dilation - pad, …].

    `group` cuts channels and outputs into as many parts, each for itself. The depthwise types of
    the forks have a group for each channel (base_conv_layer.cpp, conv_layer.cpp).
    """
    parameter = layer.parameter.convolution_param
    tops: list[F64] = []
    for x in bottoms:
        groups = parameter.group if layer.type == "Convolution" else x.shape[1]
        kernel, stride, pad, dilation = window_of(parameter, x.ndim - 2)
        weight = layer.blobs[0].astype(np.float64)
        weight = weight.reshape(groups, parameter.num_output // groups, -1, *kernel)
        tops.append(biased(layer, convolved(x, weight, stride, pad, dilation)))
    return tops


def convolved(
    x: F64, weight: F64, stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int]
) -> F64:
    """A convolution over any number of axes.

    `x` is [batch, channels, ...], `weight` [groups, outputs of a group, channels of a group, ...].
    """
    groups, outputs, channels, *kernel = weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), *((side, side) for side in pad)]) if any(pad) else x
    size = [
        (length - gap * (side - 1) - 1) // step + 1
        for length, side, step, gap in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    taps = weight.reshape(groups, outputs, channels, -1)
    total = np.zeros((len(x), groups, outputs, math.prod(size)))
    for index, place in enumerate(itertools.product(*map(range, kernel))):
        cuts = [
            slice(at * gap, at * gap + step * (count - 1) + 1, step)
            for at, gap, step, count in zip(place, dilation, stride, size, strict=True)
        ]
        seen = padded[(slice(None), slice(None), *cuts)]
        pixels = seen.reshape(len(x), groups, channels, -1)
        total += taps[..., index] @ pixels if channels > 1 else taps[..., index] * pixels
    return total.reshape(len(x), groups * outputs, *size)


def biased(layer: Layer, y: F64) -> F64:
    """Add the second blob to the channels, if there is one."""
    if len(layer.blobs) < 2:
        return y
    return y + layer.blobs[1].astype(np.float64).reshape(-1, *[1] * (y.ndim - 2))


@formula("Im2col")
def im2col(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """y[i·pixels + u·width + v, r, c] = x[i, r·stride + u·dilation - pad, …] (im2col.cpp)."""
    (x,) = bottoms
    kernel, stride, pad, dilation = window_of(layer.parameter.convolution_param, 2)
    padded = np.pad(x, [(0, 0), (0, 0), *((side, side) for side in pad)])
    size = [
        (length - gap * (side - 1) - 1) // step + 1
        for length, side, step, gap in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    rows, columns = (
        gap * np.arange(side)[:, None] + step * np.arange(count)
        for gap, side, step, count in zip(dilation, kernel, stride, size, strict=True)
    )
    seen = padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    return seen.reshape(len(x), -1, *size)


@formula("Deconvolution")
def deconvolution(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Each x[i, r, c] adds weight[i, o, u, v] · x at (r·stride + u·dilation - pad, …) of y[o].

    Source: deconv_layer.cpp, which runs a convolution backwards.
    """
    parameter = layer.parameter.convolution_param
    groups, outputs = parameter.group, parameter.num_output
    tops: list[F64] = []
    for x in bottoms:
        batch, channels, *size = x.shape
        kernel, stride, pad, dilation = window_of(parameter, len(size))
        weight = layer.blobs[0].astype(np.float64)
        weight = weight.reshape(groups, channels // groups, outputs // groups, -1)
        spans = [step * (length - 1) + 1 for step, length in zip(stride, size, strict=True)]
        whole = [
            span + gap * (side - 1) for span, gap, side in zip(spans, dilation, kernel, strict=True)
        ]
        full = np.zeros((batch, outputs, *whole))
        pixels = x.reshape(batch, groups, channels // groups, -1)
        for index, place in enumerate(itertools.product(*map(range, kernel))):
            parts = weight[..., index].transpose(0, 2, 1) @ pixels
            cuts = [
                slice(at * gap, at * gap + span, step)
                for at, gap, span, step in zip(place, dilation, spans, stride, strict=True)
            ]
            full[(slice(None), slice(None), *cuts)] += parts.reshape(batch, outputs, *size)
        inside = [slice(side, length - side) for side, length in zip(pad, whole, strict=True)]
        tops.append(biased(layer, full[(slice(None), slice(None), *inside)]))
    return tops


def window_of(
    parameter: caffe_pb2.ConvolutionParameter, axes: int
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, pad and dilation along each axis."""
    return (
        _each(parameter.kernel_size, parameter.kernel_h, parameter.kernel_w, 1, axes),
        _each(parameter.stride, parameter.stride_h, parameter.stride_w, 1, axes),
        _each(parameter.pad, parameter.pad_h, parameter.pad_w, 0, axes),
        _each(parameter.dilation, 0, 0, 1, axes),
    )


def _each(given: Sequence[int], height: int, width: int, default: int, axes: int) -> list[int]:
    """One number for each axis, which a layer states once, for each axis, or by name."""
    if height or width:
        return [height, width]
    numbers = list(given) or [default]
    return numbers * axes if len(numbers) == 1 else numbers
