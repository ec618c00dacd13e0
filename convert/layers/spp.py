"""SPP."""

from collections.abc import Sequence

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size, reshaped
from convert.layers.pooling import pooled
from convert.layers.registry import LayerError, handler

HIGHEST = 16
"""The most levels of a pyramid: a further level has more bins than any image has pixels."""


@handler("SPP")
def spp(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """The image pooled to 2^i × 2^i bins on each level i of a pyramid, one level after the other.

    A window's side has ⌈side / 2^i⌉ pixels. Half of the overhang past the image is padding in
    front. A pyramid of height 1 keeps its image axes. Caffe: src/caffe/layers/spp_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.spp_param
    levels = parameter.pyramid_height
    if not 1 <= levels <= HIGHEST:
        raise LayerError(f"pyramid_height is {levels}; expected 1 to {HIGHEST}")
    top = layer.tops[0]
    if levels == 1:
        return pooled(graph, x, _level(x, parameter, 0), top)
    flat: list[Value] = []
    for level in range(levels):
        bins = pooled(graph, x, _level(x, parameter, level), None)
        count = bins.static(1) * bins.static(2) * bins.static(3)
        flat.append(reshaped(graph, bins, (x.shape[0], count)))
    total = sum(value.static(1) for value in flat)
    return graph.node("Concat", flat, (x.shape[0], total), name=top, axis=1)


def _level(x: Value, parameter: caffe_pb2.SPPParameter, level: int) -> caffe_pb2.PoolingParameter:
    """The parameters of the Pooling layer of one level (SPPLayer::GetPoolingParam)."""
    bins = 1 << level
    kernel = [-(-side // bins) for side in image_size(x)]
    pad = [(size * bins - side + 1) // 2 for size, side in zip(kernel, image_size(x), strict=True)]
    if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
        raise LayerError(
            f"an image of {x.static(2)} by {x.static(3)} pixels is too small for {bins} by {bins} "
            "bins; use a smaller pyramid_height or a larger input size"
        )
    return caffe_pb2.PoolingParameter(
        pool=int(parameter.pool),  # type: ignore[arg-type]
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=kernel[0],
        stride_w=kernel[1],
        pad_h=pad[0],
        pad_w=pad[1],
    )
