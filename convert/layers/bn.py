"""BN of SegNet, ENet, PSPNet and ICNet: statistics, scale and shift in one layer."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.affine import affine
from convert.layers.blobs import canonical_axis, check_blobs
from convert.layers.registry import LayerError, handler

FOLDED, WITH_STATISTICS = 2, 4
"""How many blobs each form has."""


@handler("BN", weights=True)
def bn(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """(x − mean) / √(variance + eps) · slope + bias for each channel, or scale · x + shift.

    Four blobs are slope, bias, mean and variance (yjxiong's Caffe, PSPNet, ICNet). Two blobs are
    scale and shift, into which the statistics were folded (SegNet, ENet, DeconvNet); SegNet's
    layer takes them so only with `bn_mode: INFERENCE`. The forks' src/caffe/layers/bn_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.bn_param
    axis = canonical_axis(parameter.axis, x.rank)
    if axis == 0:
        raise LayerError("axis is 0, the batch; expected the axis of the channels, 1")
    channels = x.static(axis)
    learns = parameter.bn_mode == caffe_pb2.BNParameter.LEARN
    if len(layer.blobs) == FOLDED:
        if learns and not _is_yjxiongs(parameter):
            raise LayerError(
                "bn_mode is LEARN, SegNet's default: the layer would normalise by each batch's "
                "own statistics; if these are folded into the two blobs, as SegNet's script does, "
                "set bn_mode: INFERENCE"
            )
    elif parameter.HasField("bn_mode") and learns:
        raise LayerError(
            "bn_mode is LEARN: the layer would normalise by each batch's own statistics; set "
            "bn_mode: INFERENCE to use the stored statistics"
        )
    if parameter.HasField("moving_average") and not parameter.moving_average:
        raise LayerError(
            "moving_average is false: the layer would normalise by each batch's own statistics; "
            "set moving_average: true to use the stored statistics"
        )
    count = FOLDED if len(layer.blobs) == FOLDED else WITH_STATISTICS
    check_blobs(layer, [_shape(layer, position, axis, channels) for position in range(count)])
    scale, shift, *statistics = (blob.astype(np.float64).reshape(-1) for blob in layer.blobs)
    if statistics:
        mean, variance = statistics
        with np.errstate(all="ignore"):  # checked below
            scale = scale / np.sqrt(variance + _eps(parameter))
        shift = shift - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise LayerError("a stored variance is negative or not a number; the weights are damaged")
    return affine(graph, x, layer.tops[0], layer.name, axis, scale=scale, shift=shift)


def _shape(layer: Layer, position: int, axis: int, channels: int) -> tuple[int, ...]:
    """The expected shape of a blob: (1, channels, 1, 1) in the forks, or (channels)."""
    full = tuple(channels if index == axis else 1 for index in range(4))
    found = layer.blobs[position].shape if position < len(layer.blobs) else full
    return full if found == full else (channels,)


def _is_yjxiongs(parameter: caffe_pb2.BNParameter) -> bool:
    """Whether the fields are those of the fork that has no bn_mode."""
    names = ("slope_filler", "bias_filler", "momentum", "frozen", "eps")
    return not parameter.HasField("bn_mode") and any(map(parameter.HasField, names))


def _eps(parameter: caffe_pb2.BNParameter) -> float:
    """The epsilon added to the variance. The forks that call it var_eps have another default."""
    if parameter.HasField("eps"):
        return parameter.eps
    others = ("var_eps", "scale_filler", "shift_filler", "moving_average", "decay")
    if any(parameter.HasField(name) for name in others):
        return parameter.var_eps
    return parameter.eps
