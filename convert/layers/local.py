"""Local: a convolution whose weights differ from place to place."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, image_size
from convert.layers.registry import LayerError, handler

PATCHES_LIMIT = 2**28
"""Numbers in the patches of one image: a gibibyte as float32."""


@handler("Local", "LocallyConnected", "locally_connected", weights=True)
def local(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Σ weight · window + bias with weights and a bias of their own at each place.

    The weights are [outputs, 1, channels · kernel², places], the biases [1, 1, outputs, places].
    Forks, for DeepFace: src/caffe/layers/local_layer.cpp.
    """
    (x,) = inputs
    own = layer.parameter.HasField("locally_connected_param")
    parameter = layer.parameter.locally_connected_param if own else layer.parameter.local_param
    kernel, stride, pad = (
        tuple(
            getattr(parameter, f"{name}_{side}")
            if parameter.HasField(f"{name}_{side}")
            else getattr(parameter, "kernel_size" if name == "kernel" else name)
            for side in "hw"
        )
        for name in ("kernel", "stride", "pad")
    )
    outputs, channels = parameter.num_output, x.static(1) if x.rank > 1 else 0
    height, width = image_size(x)
    if outputs < 1:
        raise LayerError("num_output is missing; state how many channels the layer makes")
    if min(*kernel, *stride) < 1:
        raise LayerError("kernel_size and stride must be at least 1")
    if parameter.group != 1:
        raise LayerError(f"group is {parameter.group}; expected 1, which is all the layer has")
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
    check_blobs(layer, [(outputs, 1, taps, places)] + [(1, 1, outputs, places)] * _biases(layer))
    patches = _patches(layer, graph, x, kernel, stride, pad, size)
    weight = layer.blobs[0].reshape(outputs, taps, places).transpose(2, 1, 0)
    constant = graph.constant(weight, f"{layer.name}/weight")
    by_place = graph.node("Transpose", [patches], (places, x.shape[0], taps), perm=(2, 0, 1))
    sums = graph.node("MatMul", [by_place, constant], (places, x.shape[0], outputs))
    shape = (x.shape[0], outputs, places)
    sums = graph.node("Transpose", [sums], shape, perm=(1, 2, 0))
    if _biases(layer):
        bias = graph.constant(layer.blobs[1].reshape(outputs, places), f"{layer.name}/bias")
        sums = graph.node("Add", [sums, bias], shape)
    target = graph.constant(np.array([0, outputs, *size], np.int64), f"{layer.name}/shape")
    return graph.node("Reshape", [sums, target], (x.shape[0], outputs, *size), name=layer.tops[0])


def _biases(layer: Layer) -> bool:
    own = layer.parameter.HasField("locally_connected_param")
    parameter = layer.parameter.locally_connected_param if own else layer.parameter.local_param
    return parameter.bias_term


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

    A convolution by kernels with a single 1 picks each number: standard operators have no im2col.
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
