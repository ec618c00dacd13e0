"""Convolution and Deconvolution, as one matrix product for each position of the kernel."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64

Pair = tuple[int, int]


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
    kernel, stride, pad, dilation = _window(layer.parameter.convolution_param)
    tops: list[F64] = []
    for x in bottoms:
        batch, channels = x.shape[:2]
        groups = layer.parameter.convolution_param.group
        groups = groups if layer.type == "Convolution" else channels
        outputs = layer.parameter.convolution_param.num_output
        weight = layer.blobs[0].astype(np.float64)
        weight = weight.reshape(groups, outputs // groups, channels // groups, *kernel)
        padded = np.pad(x, [(0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2])
        height, width = (
            (padded.shape[2 + axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
            for axis in (0, 1)
        )
        total = np.zeros((batch, groups, outputs // groups, height * width))
        for down in range(kernel[0]):
            for across in range(kernel[1]):
                top, left = down * dilation[0], across * dilation[1]
                seen = padded[
                    :,
                    :,
                    top : top + stride[0] * (height - 1) + 1 : stride[0],
                    left : left + stride[1] * (width - 1) + 1 : stride[1],
                ]
                pixels = seen.reshape(batch, groups, channels // groups, height * width)
                total += weight[:, :, :, down, across] @ pixels
        tops.append(_biased(layer, total.reshape(batch, outputs, height, width)))
    return tops


@formula("Deconvolution")
def deconvolution(layer: Layer, bottoms: Sequence[F64]) -> list[F64]:
    """Each x[i, r, c] adds weight[i, o, u, v] · x at (r·stride + u·dilation - pad, …) of y[o].

    Source: deconv_layer.cpp, which runs a convolution backwards.
    """
    kernel, stride, pad, dilation = _window(layer.parameter.convolution_param)
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
        tops.append(_biased(layer, full[:, :, pad[0] : rows, pad[1] : columns]))
    return tops


def _biased(layer: Layer, y: F64) -> F64:
    if not layer.parameter.convolution_param.bias_term:
        return y
    return y + layer.blobs[1].astype(np.float64).reshape(-1, 1, 1)


def _window(parameter: caffe_pb2.ConvolutionParameter) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, pad and dilation, each down and across."""
    kernel = _pair(list(parameter.kernel_size), parameter.kernel_h, parameter.kernel_w, 1)
    stride = _pair(list(parameter.stride), parameter.stride_h, parameter.stride_w, 1)
    pad = _pair(list(parameter.pad), parameter.pad_h, parameter.pad_w, 0)
    dilation = _pair(list(parameter.dilation), 0, 0, 1)
    return kernel, stride, pad, dilation


def _pair(both: list[int], height: int, width: int, default: int) -> Pair:
    if height or width:
        return height, width
    first, *more = both or [default]
    return first, (more or [first])[0]
