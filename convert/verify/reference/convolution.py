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


@formula("Deconvolution")
def deconvolution(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Each x[i, r, c] adds weight[i, o, u, v] · x at (r·stride + u·dilation - pad, …) of y[o].

    Source: deconv_layer.cpp, which runs a convolution backwards.
    """
    kernel, stride, pad, dilation = window_of(layer.parameter.convolution_param, 2)
    groups = layer.parameter.convolution_param.group
    outputs = layer.parameter.convolution_param.num_output
    tops: list[F64] = []
    for x in bottoms:
        batch, channels, height, width = x.shape
        weight = layer.blobs[0].astype(np.float64)
        weight = weight.reshape(groups, channels // groups, outputs // groups, *kernel)
        full = np.zeros(
            (
                batch,
                outputs,
                stride[0] * (height - 1) + dilation[0] * (kernel[0] - 1) + 1,
                stride[1] * (width - 1) + dilation[1] * (kernel[1] - 1) + 1,
            )
        )
        pixels = x.reshape(batch, groups, channels // groups, height * width)
        for down in range(kernel[0]):
            for across in range(kernel[1]):
                top, left = down * dilation[0], across * dilation[1]
                parts = weight[:, :, :, down, across].transpose(0, 2, 1) @ pixels
                full[
                    :,
                    :,
                    top : top + stride[0] * (height - 1) + 1 : stride[0],
                    left : left + stride[1] * (width - 1) + 1 : stride[1],
                ] += parts.reshape(batch, outputs, height, width)
        rows, columns = full.shape[2] - pad[0], full.shape[3] - pad[1]
        tops.append(biased(layer, full[:, :, pad[0] : rows, pad[1] : columns]))
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
