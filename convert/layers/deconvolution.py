"""Deconvolution."""

from collections.abc import Sequence

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import check_blobs, image_size
from convert.layers.convolution import check_pairing, constants, has_bias, read_outputs, read_window
from convert.layers.convolution3d import spatial_transpose
from convert.layers.registry import LayerError, handler


@handler("Deconvolution", bottoms=(1, None), tops=(1, None), weights=True)
def deconvolution(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The transpose of a convolution, plus bias: out = stride · (in − 1) + extent − 2 · pad.

    The extent is dilation · (kernel − 1) + 1. Weights are [in, out / group, height, width].
    Caffe: src/caffe/layers/deconv_layer.cpp.
    """
    check_pairing(layer)
    if any(x.rank != 4 for x in inputs):
        return [
            spatial_transpose(layer, graph, x, top)
            for x, top in zip(inputs, layer.tops, strict=True)
        ]
    window = read_window(layer)
    values: list[Value] = []
    for x, top in zip(inputs, layer.tops, strict=True):
        lengths = image_size(x)
        channels = x.static(1)
        outputs, groups = read_outputs(layer, channels)
        shape = (channels, outputs // groups, *window.kernel)
        check_blobs(layer, [shape] + [(outputs,)] * has_bias(layer))
        size = [
            stride * (length - 1) + extent - 2 * pad
            for length, pad, extent, stride in zip(
                lengths, window.pad, window.extent, window.stride, strict=True
            )
        ]
        if min(size) < 1:
            raise LayerError(f"pad {window.pad} leaves nothing of the output; use a smaller pad")
        values.append(
            graph.node(
                "ConvTranspose",
                [x, *constants(layer, graph, layer.blobs[0].reshape(shape))],
                (x.shape[0], outputs, *size),
                name=top,
                kernel_shape=window.kernel,
                strides=window.stride,
                pads=window.pad * 2,
                dilations=window.dilation,
                group=groups,
            )
        )
    return values
