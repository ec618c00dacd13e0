"""BatchNorm."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.affine import affine
from convert.layers.blobs import check_blobs
from convert.layers.registry import LayerError, handler


@handler("BatchNorm", weights=True)
def batch_norm(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """(x − mean) / √(variance + eps), a mean and a variance for each channel (axis 1).

    Blobs hold the sums of mean and variance and, third, the factor that both are divided by; a
    factor of 0 makes both 0. NVIDIA Caffe's `scale_bias` adds a scale and a bias as fourth and
    fifth blob. Caffe: src/caffe/layers/batch_norm_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.batch_norm_param
    if parameter.HasField("use_global_stats") and not parameter.use_global_stats:
        raise LayerError(
            "use_global_stats is false: the layer would normalise by each batch's own statistics, "
            "so results would depend on the batch; remove it to use the stored statistics"
        )
    if x.rank < 2:
        raise LayerError("expected a bottom with channels on axis 1, found one axis")
    channels = x.static(1)
    shapes: list[tuple[int, ...]] = [(channels,), (channels,), (1,)]
    if parameter.scale_bias:
        shapes += [(channels,), (channels,)]
    check_blobs(layer, shapes)
    mean, variance, factor, *rest = (blob.astype(np.float64).reshape(-1) for blob in layer.blobs)
    with np.errstate(all="ignore"):  # checked below
        share = 0.0 if factor[0] == 0 else 1 / factor[0]
        scale = 1 / np.sqrt(variance * share + parameter.eps)
        shift = -mean * share * scale
    if rest:
        scale, shift = scale * rest[0], shift * rest[0] + rest[1]
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise LayerError("a stored variance is negative or not a number; the weights are damaged")
    return affine(graph, x, layer.tops[0], layer.name, 1, scale=scale, shift=shift)
