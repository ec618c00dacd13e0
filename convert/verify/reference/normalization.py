"""LRN, Normalize, ChannelNorm and Softmax."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import ROUNDING, formula
from geometry.arrays import F64


@formula("LRN")
def lrn(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Quotients x / (k + alpha / n · Σ x²) ^ beta over n channels, or over n × n pixels.

    Within a channel Caffe divides by n² and ignores k: lrn_layer.cpp builds the layer from an
    average pooling and a Power layer with shift 1.
    """
    (x,) = bottoms
    parameter = layer.parameter.lrn_param
    size = parameter.local_size
    reach = (size - 1) // 2
    if parameter.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
        squares = np.pad(x**2, [(0, 0), (reach, reach), (0, 0), (0, 0)])
        total = sum(squares[:, start : start + x.shape[1]] for start in range(size))
        return x * (parameter.k + parameter.alpha / size * total) ** -parameter.beta
    squares = np.pad(x**2, [(0, 0), (0, 0), (reach, reach), (reach, reach)])
    height, width = x.shape[2:]
    total = sum(
        squares[:, :, top : top + height, left : left + width]
        for top in range(size)
        for left in range(size)
    )
    return x * (1 + parameter.alpha / size**2 * total) ** -parameter.beta


@formula("Normalize", "NormalizeBBox")
def normalize(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Scale · x / √(Σ x² + eps), over the channels of each pixel or, across_spatial, of the image.

    Source: normalize_layer.cpp of SSD's Caffe.
    """
    (x,) = bottoms
    own = layer.parameter.HasField("normalize_bbox_param")
    parameter = layer.parameter.normalize_bbox_param if own else layer.parameter.norm_param
    axes = tuple(range(1, x.ndim)) if parameter.across_spatial else (1,)
    norm = np.sqrt((x**2).sum(axis=axes, keepdims=True) + parameter.eps)
    scale = layer.blobs[0].astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
    return np.asarray(x / norm * scale)


@formula("ChannelNorm")
def channel_norm(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """√(Σ x²) over the channels of each pixel (FlowNet 2's channel_norm_layer.cu)."""
    (x,) = bottoms
    return np.asarray(np.sqrt(np.einsum("nchw,nchw->nhw", x, x)))[:, None]


@formula("Softmax")
def softmax(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """e^(x - max) / Σ e^(x - max) along one axis (softmax_layer.cpp)."""
    (x,) = bottoms
    axis = layer.parameter.softmax_param.axis
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


LANES = 8
"""How many sums are kept side by side. The processor adds to them at once."""


def _mean(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """How far the mean of a channel is off, and so all of the channel, if float32 sums it up.

    Where a channel is flat, each step rounds the same way, so it may be thousands of roundings.
    """
    (x,) = bottoms
    parameter = layer.parameter.mvn_param
    rows = x.reshape(len(x), 1 if parameter.across_channels else x.shape[1], -1)
    count = rows.shape[2]
    padded = np.pad(rows, ((0, 0), (0, 0), (0, -count % LANES)))
    lanes = padded.reshape(*rows.shape[:2], -1, LANES).astype(np.float32)
    sums = np.add.accumulate(lanes, axis=2)[:, :, -1].astype(np.float64).sum(axis=2)
    mean = rows.mean(axis=2)
    off = np.abs(sums / count - mean) + ROUNDING * np.abs(mean)
    if parameter.normalize_variance:
        off = off / (rows.std(axis=2) + parameter.eps)
    return np.asarray(off.reshape(*off.shape, *[1] * (x.ndim - 2)))


@formula("MVN", inner=_mean)
def mvn(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """(x - mean) / (√variance + eps) of each channel, or of the image across_channels.

    Caffe adds eps to the deviation, not to the variance (mvn_layer.cpp).
    """
    (x,) = bottoms
    parameter = layer.parameter.mvn_param
    rows = x.reshape(len(x), 1 if parameter.across_channels else x.shape[1], -1)
    centred = rows - rows.mean(axis=2, keepdims=True)
    if parameter.normalize_variance:
        deviation = np.sqrt((centred**2).mean(axis=2, keepdims=True))
        centred = centred / (deviation + parameter.eps)
    return np.asarray(centred.reshape(x.shape))


@formula("L2Norm")
def l2_norm(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Quotients x / √(Σ x²) along an axis or over the image; zeros stay.

    Source: l2norm_layer.cpp of the forks.
    """
    (x,) = bottoms
    parameter = layer.parameter.l2_norm_param
    if layer.parameter.HasField("l2norm_param"):
        parameter = layer.parameter.l2norm_param
    axes = tuple(range(1, x.ndim)) if parameter.across_spatial else (parameter.axis,)
    total = (x**2).sum(axis=axes, keepdims=True)
    if parameter.HasField("eps"):
        total = total + parameter.eps
    return np.asarray(x / np.sqrt(np.where(total == 0, 1, total)))
