"""Im2col."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.convolution import read_window, window_counts
from convert.layers.registry import LayerError, handler


@handler("Im2col")
def im2col(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The pixels of each window as channels: those of the first channel, then of the next.

    A convolution computes them whose weights are 1 for one pixel of one channel. Caffe:
    src/caffe/layers/im2col_layer.cpp, where text detectors cut features for a recurrent layer.
    """
    (x,) = inputs
    if layer.parameter.convolution_param.axis not in (1, -3):
        raise LayerError("axis must be 1, that of the channels")
    window = read_window(layer)
    size = window_counts(window, image_size(x))
    pixels, channels = math.prod(window.kernel), x.static(1)
    picks = np.eye(pixels, dtype=np.float32).reshape(pixels, 1, *window.kernel)
    weight = graph.constant(np.tile(picks, (channels, 1, 1, 1)), f"{layer.name}/picks")
    return graph.node(
        "Conv",
        [x, weight],
        (x.shape[0], channels * pixels, *size),
        name=layer.tops[0],
        kernel_shape=window.kernel,
        strides=window.stride,
        pads=window.pad * 2,
        dilations=window.dilation,
        group=channels,
    )
