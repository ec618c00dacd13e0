"""Local: a convolution with different weights at each position."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, image_size
from convert.layers.convolution import read_window
from convert.layers.registry import LayerError, handler

PATCHES_LIMIT = 2**28
"""The most values in the patches of one image: 1 GiB as float32."""


@dataclass(frozen=True)
class Window:
    """The parameters of a Local layer; pairs are (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    outputs: int
    group: int
    bias: bool


@handler("Local", "LocallyConnected", "locally_connected", weights=True)
def local(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Σ weight · window + bias, with separate weights and biases at each position.

    The weights are [outputs, 1, channels · kernel², positions], the biases [1, 1, outputs,
    positions]. Forks, for DeepFace: src/caffe/layers/local_layer.cpp.
    """
    (x,) = inputs
    window = _window(layer)
    kernel, stride, pad = window.kernel, window.stride, window.pad
    outputs = window.outputs
    height, width = image_size(x)
    channels = x.static(1)
    if outputs < 1:
        raise LayerError("num_output is missing; state how many channels the layer makes")
    if min(*kernel, *stride) < 1:
        raise LayerError("kernel_size and stride must be at least 1")
    if window.group != 1:
        raise LayerError(f"group is {window.group}; this layer supports only 1")
    size = [
        (length + 2 * gap - side) // step + 1
        for length, gap, side, step in zip((height, width), pad, kernel, stride, strict=True)
    ]
    if min(size) < 1:
        raise LayerError(
            f"the kernel of {kernel[0]} by {kernel[1]} is larger than the padded input of "
            f"{height} by {width}; use a larger input size"
        )
    taps, places = channels * kernel[0] * kernel[1], size[0] * size[1]
    if taps * places > PATCHES_LIMIT:
        raise LayerError(
            f"the layer has {places} places with {taps} numbers each, more than this conversion "
            "handles; use a smaller input size"
        )
    check_blobs(layer, [(outputs, 1, taps, places)] + [(1, 1, outputs, places)] * window.bias)
    patches = _patches(layer, graph, x, kernel, stride, pad, size)
    weight = layer.blobs[0].reshape(outputs, taps, places).transpose(2, 1, 0)
    constant = graph.constant(weight, f"{layer.name}/weight")
    by_place = graph.node("Transpose", [patches], (places, x.shape[0], taps), perm=(2, 0, 1))
    sums = graph.node("MatMul", [by_place, constant], (places, x.shape[0], outputs))
    shape = (x.shape[0], outputs, places)
    sums = graph.node("Transpose", [sums], shape, perm=(1, 2, 0))
    if window.bias:
        bias = graph.constant(layer.blobs[1].reshape(outputs, places), f"{layer.name}/bias")
        sums = graph.node("Add", [sums, bias], shape)
    target = graph.constant(np.array([0, outputs, *size], np.int64), f"{layer.name}/shape")
    return graph.node("Reshape", [sums, target], (x.shape[0], outputs, *size), name=layer.tops[0])


def _window(layer: Layer) -> Window:
    """The window of the layer's parameters; forks use different names for the field."""
    if layer.parameter.HasField("convolution_param"):
        shared, plain = read_window(layer), layer.parameter.convolution_param
        if shared.dilation != (1, 1):
            raise LayerError("dilation is given; this layer supports only 1")
        return Window(shared.kernel, shared.stride, shared.pad, plain.num_output, plain.group,
                      plain.bias_term)  # fmt: skip
    own = layer.parameter.HasField("locally_connected_param")
    parameter = layer.parameter.locally_connected_param if own else layer.parameter.local_param

    def pair(both: str, name: str) -> tuple[int, int]:
        height, width = (
            getattr(parameter, f"{name}_{side}" if parameter.HasField(f"{name}_{side}") else both)
            for side in "hw"
        )
        return height, width

    return Window(
        pair("kernel_size", "kernel"),
        pair("stride", "stride"),
        pair("pad", "pad"),
        parameter.num_output,
        parameter.group,
        parameter.bias_term,
    )


def _patches(
    layer: Layer,
    graph: GraphBuilder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    size: Sequence[int],
) -> Value:
    """The windows, [batch, channels · kernel, places], as im2col lays them out.

    Standard operators have no im2col, so a convolution by kernels with a single 1 selects each
    number.
    """
    channels, window = x.static(1), kernel[0] * kernel[1]
    picks = np.tile(np.eye(window, dtype=np.float32), (channels, 1))
    picked = graph.node(
        "Conv",
        [x, graph.constant(picks.reshape(-1, 1, *kernel), f"{layer.name}/picks")],
        (x.shape[0], channels * window, *size),
        kernel_shape=tuple(kernel),
        strides=tuple(stride),
        pads=(*pad, *pad),
        group=channels,
    )
    shape = (x.shape[0], channels * window, size[0] * size[1])
    target = graph.constant(np.array([0, *shape[1:]], np.int64), f"{layer.name}/patches")
    return graph.node("Reshape", [picked, target], shape)
