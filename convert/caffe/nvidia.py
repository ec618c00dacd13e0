"""NVIDIA Caffe's BatchNorm: its blobs came in several orders, here they get the current one.

The current order is mean, variance, factor, scale, bias. DIGITS, with NVIDIA Caffe before 0.16,
wrote scale, bias, mean, variance and often a fifth blob of one number.
Sources in NVIDIA Caffe: Net::CopyTrainedLayersFrom (src/caffe/net.cpp), which converts DIGITS'
order when it loads a file, and src/caffe/layers/batch_norm_layer.cpp.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.weights import Blobs
from geometry.arrays import F32

MIN_EPS = 1e-5
"""NVIDIA Caffe's layer adds at least this eps to the variance."""


def current(
    layer: caffe_pb2.LayerParameter, blobs: Blobs
) -> tuple[caffe_pb2.LayerParameter, Blobs]:
    """The layer and its blobs, rewritten where it is a BatchNorm with a scale and a bias.

    The rewritten layer states `scale_bias` and has five blobs of one axis. Every other layer comes
    back as it is, and so does one whose blobs fit none of NVIDIA Caffe's orders.
    """
    parameter = layer.batch_norm_param
    has_scale = (
        parameter.scale_bias
        # NVIDIA Caffe takes a filler as a request for what it fills.
        or parameter.HasField("scale_filler")
        or parameter.HasField("bias_filler")
        or len(blobs) == 5
    )
    if layer.type != "BatchNorm" or not has_scale:
        return layer, blobs
    ordered = _ordered(parameter, blobs)
    if ordered is None:
        return layer, blobs
    rewritten = caffe_pb2.LayerParameter()
    rewritten.CopyFrom(layer)
    rewritten.batch_norm_param.scale_bias = True
    rewritten.batch_norm_param.eps = max(parameter.eps, MIN_EPS)
    return rewritten, ordered


def _ordered(parameter: caffe_pb2.BatchNormParameter, blobs: Blobs) -> Blobs | None:
    """The five blobs in the current order; None where their sizes fit no order."""
    flat = [blob.reshape(-1) for blob in blobs]
    sizes = [blob.size for blob in blobs]
    channels = sizes[0] if sizes else 0
    one = np.ones(1, np.float32)
    scale = _filled(parameter, "scale_filler", 1, channels)
    bias = _filled(parameter, "bias_filler", 0, channels)
    if sizes == [channels, channels, 1] and scale is not None and bias is not None:
        # Written by a layer without scale and bias, which are then what the fillers make.
        return flat[0], flat[1], flat[2], scale, bias
    if sizes == [channels] * 4:
        if _is_old(blobs):
            return flat[2], flat[3], one, flat[0], flat[1]
        return flat[0], flat[1], one, flat[2], flat[3]
    if sizes == [channels, channels, 1, channels] and bias is not None:
        return flat[0], flat[1], one, flat[3], bias
    is_old = sizes == [channels] * 4 + [1]
    if is_old and (channels > 1 or blobs[0].ndim == 4):
        return flat[2], flat[3], one, flat[0], flat[1]
    if sizes == [channels, channels, 1, channels, channels]:
        # NVIDIA Caffe uses mean and variance as they are. The factor is often 0.
        return flat[0], flat[1], one, flat[3], flat[4]
    return None


def _filled(
    parameter: caffe_pb2.BatchNormParameter,
    name: Literal["scale_filler", "bias_filler"],
    default: float,
    channels: int,
) -> F32 | None:
    """What a filler makes, where that is the same each time."""
    if not parameter.HasField(name):
        return np.full(channels, default, np.float32)
    filler = parameter.scale_filler if name == "scale_filler" else parameter.bias_filler
    return np.full(channels, filler.value, np.float32) if filler.type == "constant" else None


def _is_old(blobs: Sequence[F32]) -> bool:
    """Whether four blobs of one size are scale, bias, mean, variance, not mean, variance, ….

    A variance is never negative, nor zero throughout. Where both orders are possible by that, the
    old files are known by the legacy shape of four dimensions.
    """
    newer, older = (bool((blobs[i] >= 0).all() and blobs[i].any()) for i in (1, 3))
    return older if newer != older else blobs[0].ndim == 4
