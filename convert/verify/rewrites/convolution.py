"""Convolutions and deconvolutions as OpenCV reads them right."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.convolution import window_of
from convert.verify.rewrites.piece import Piece, Shapes, apart
from geometry.arrays import F32


def convolution(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks the forks' names for depthwise convolutions, and takes one bottom only.

    It also misreads some depthwise convolutions. Larger groups, with zeros for the weights of the
    other channels, are computed another way.
    """
    pieces: list[Piece] = []
    for index, (bottom, top) in enumerate(zip(layer.bottoms, layer.tops, strict=True)):
        single = caffe_pb2.LayerParameter()
        single.CopyFrom(message)
        single.type = "Convolution"
        single.bottom[:], single.top[:] = [bottom], [top]
        channels, *size = (int(dim) for dim in shapes[bottom][1:])
        parameter = single.convolution_param
        if layer.type != "Convolution":
            parameter.group = channels
        blobs = layer.blobs if index else ()
        if parameter.group == channels > 1 and layer.blobs and _is_misread(layer, size):
            parameter.group, weight = _regrouped(layer.blobs[0], channels)
            blobs = (weight, *layer.blobs[1:])
        pieces.append(Piece(single, blobs))
    return pieces


def _is_misread(layer: Layer, size: Sequence[int]) -> bool:
    """Whether OpenCV's fast path for depthwise 3x3 convolutions reads the wrong memory.

    With padding it assumes that each row has a second pixel, and the map a second row. And it
    assumes that the padding is as wide as the dilation. Seen with OpenCV 4.14 for maps that are one
    pixel high or wide, and for dilation 2 and 3 with padding 1.
    """
    parameter = layer.parameter.convolution_param
    _, _, pads, dilation = window_of(parameter, 2)
    if layer.blobs[0].shape[-2:] != (3, 3) or not any(pads):
        return False
    return min(size) <= max(dilation) or {*pads} != {*dilation}


def _regrouped(weight: F32, channels: int) -> tuple[int, F32]:
    """The weights of a depthwise convolution for fewer, larger groups, and their number."""
    width = next(number for number in range(2, channels + 1) if channels % number == 0)
    kernel = weight.shape[-2:]
    multiple = weight.size // (channels * kernel[0] * kernel[1])
    wide = np.zeros((channels, multiple, width, *kernel), np.float32)
    for channel in range(channels):
        wide[channel, :, channel % width] = weight.reshape(channels, multiple, *kernel)[channel]
    return channels // width, wide.reshape(channels * multiple, width, *kernel)


def deconvolution(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV ignores `dilation`, so it gets a larger kernel with zeros between the weights.

    It merges a BatchNorm or Scale into the Deconvolution before it, which is wrong where that has
    groups. A Permute that changes nothing keeps them apart. With a kernel of one pixel and
    padding, OpenCV writes outside of its memory. So it gets a kernel of three by three, with zeros
    around the weight, and more padding.
    """
    pieces: list[Piece] = []
    for index, (bottom, top) in enumerate(zip(layer.bottoms, layer.tops, strict=True)):
        single = caffe_pb2.LayerParameter()
        single.CopyFrom(message)
        single.bottom[:], single.top[:] = [bottom], [top]
        blobs = layer.blobs if index else ()
        if layer.blobs and len(shapes[bottom]) == 4:
            parameter = single.convolution_param
            _, _, pads, dilation = window_of(parameter, 2)
            weight = _spread(layer.blobs[0], dilation)
            if weight.shape[-2:] == (1, 1) and max(pads):
                weight = np.pad(weight, [(0, 0)] * (weight.ndim - 2) + [(1, 1)] * 2)
                pads = [pad + 1 for pad in pads]
            if weight.shape != layer.blobs[0].shape:
                for field in ("dilation", "kernel_size", "kernel_h", "kernel_w", "pad"):
                    parameter.ClearField(field)
                parameter.kernel_h, parameter.kernel_w = weight.shape[-2:]
                parameter.pad_h, parameter.pad_w = pads
                blobs = (weight, *layer.blobs[1:])
        pieces += _unmerged(Piece(single, blobs), len(shapes[bottom]))
    return pieces


def _unmerged(deconvolution: Piece, rank: int) -> list[Piece]:
    """A Deconvolution that OpenCV merges with no layer after it, if it has groups."""
    message = deconvolution.layer
    if message.convolution_param.group == 1:
        return [deconvolution]
    (top,) = message.top
    message.top[:] = [f"{top}/merged"]
    return [deconvolution, apart(f"{top}/apart", message.top[0], top, rank)]


def _spread(weight: F32, dilation: Sequence[int]) -> F32:
    """A kernel with zeros where a dilation steps over pixels."""
    steps = dilation[0], dilation[1]
    size = [step * (length - 1) + 1 for step, length in zip(steps, weight.shape[-2:], strict=True)]
    wide = np.zeros((*weight.shape[:-2], *size), np.float32)
    wide[..., :: steps[0], :: steps[1]] = weight
    return wide


def upsample(layer: Layer, message: caffe_pb2.LayerParameter, shapes: Shapes) -> list[Piece]:
    """OpenCV lacks Upsample: a Deconvolution with ones repeats each pixel."""
    if len(layer.bottoms) != 1:
        return [Piece(message)]
    before, after = shapes[layer.bottoms[0]], shapes[layer.tops[0]]
    channels = int(before[1])
    steps = [int(after[axis]) // int(before[axis]) for axis in (2, 3)]
    message.ClearField("upsample_param")
    message.type = "Deconvolution"
    parameter = message.convolution_param
    parameter.num_output = parameter.group = channels
    parameter.bias_term = False
    parameter.kernel_h, parameter.kernel_w = parameter.stride_h, parameter.stride_w = steps
    return _unmerged(Piece(message, (np.ones((channels, 1, *steps), np.float32),)), 4)
