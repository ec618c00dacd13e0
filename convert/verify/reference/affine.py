"""Layers that multiply and add along axes: BatchNorm, Scale, Bias, DataAugmentation."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F32, F64


@formula("BatchNorm")
def batch_norm(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """(x - mean) / √(variance + eps) per channel, both divided by a stored factor.

    batch_norm_layer.cpp; NVIDIA Caffe's `scale_bias` then multiplies and adds.
    """
    (x,) = bottoms
    mean, variance, factor, *rest = (blob.astype(np.float64).ravel() for blob in layer.blobs)
    share = 0.0 if factor[0] == 0 else 1 / factor[0]
    deviation = np.sqrt(variance * share + layer.parameter.batch_norm_param.eps)
    y = (x - _along(mean * share, x, 1)) / _along(deviation, x, 1)
    if layer.parameter.batch_norm_param.scale_bias and len(rest) == 2:
        y = y * _along(rest[0], x, 1) + _along(rest[1], x, 1)
    return y


@formula("DataAugmentation")
def data_augmentation(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The images minus the mean of each channel or pixel (FlowNet 2's data_augmentation_layer)."""
    (x,) = bottoms
    parameter = layer.parameter.augmentation_param
    if parameter.recompute_mean == 0:
        stated = len(parameter.mean) == 3 and not parameter.mean_per_pixel
        return x - _along(np.asarray(parameter.mean, np.float64), x, 1) if stated else x
    pixels, channels = (blob.astype(np.float64) for blob in layer.blobs[1:])
    if not parameter.mean_per_pixel:
        return x - channels.reshape(1, -1, 1, 1)
    if pixels.size != x[0].size or pixels.shape[-2:] != x.shape[-2:]:
        pixels = pixels.mean(axis=(-2, -1), keepdims=True)
    return x - pixels


@formula("Scale")
def scale(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Products x · scale (+ bias); the scale is the first blob or the second bottom.

    Source: scale_layer.cpp.
    """
    x = bottoms[0]
    parameter = layer.parameter.scale_param
    blobs = list(layer.blobs)
    if len(bottoms) == 2:
        factor, rank = bottoms[1], bottoms[1].ndim
    else:
        rank = x.ndim - parameter.axis % x.ndim if parameter.num_axes == -1 else parameter.num_axes
        factor = _spanning(blobs.pop(0), x, parameter.axis, rank)
    y = x * _along(factor, x, parameter.axis)
    if parameter.bias_term:
        y = y + _along(_spanning(blobs[0], x, parameter.axis, rank), x, parameter.axis)
    return y


@formula("Bias")
def bias(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Sums x + bias, which is the first blob or the second bottom (bias_layer.cpp)."""
    x = bottoms[0]
    parameter = layer.parameter.bias_param
    if len(bottoms) == 2:
        return x + _along(bottoms[1], x, parameter.axis)
    rank = x.ndim - parameter.axis % x.ndim if parameter.num_axes == -1 else parameter.num_axes
    return x + _along(_spanning(layer.blobs[0], x, parameter.axis, rank), x, parameter.axis)


def _spanning(blob: F32, x: F64, axis: int, rank: int) -> F64:
    """A blob in the shape of the `rank` axes of x that it spans; old files pad shapes with 1."""
    start = axis % x.ndim if rank else 0
    return blob.astype(np.float64).reshape(x.shape[start : start + rank])


def _along(values: F64, x: F64, axis: int) -> F64:
    """Values with ones appended to their shape, so that their axes lie on those of x from `axis`.

    Where the values have no axis, or one value, they go with all of x.
    """
    if values.ndim == 0:
        return values
    start = axis % x.ndim
    return values.reshape(*values.shape, *[1] * (x.ndim - start - values.ndim))


@formula("BN")
def bn(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Channels slope · (x - mean) / √(variance + eps) + bias, or scale · x + shift.

    Four blobs are slope, bias, mean, variance (PSPNet's bn_layer.cpp); two are scale and shift
    (SegNet's bn_layer.cpp). Forks with other fields add `var_eps`, whose default is smaller.
    """
    (x,) = bottoms
    parameter = layer.parameter.bn_param
    scale, shift, *statistics = (blob.astype(np.float64).ravel() for blob in layer.blobs)
    if statistics:
        mean, variance = statistics
        others = ("var_eps", "scale_filler", "shift_filler", "moving_average", "decay")
        is_other = not parameter.HasField("eps") and any(map(parameter.HasField, others))
        eps = parameter.var_eps if is_other else parameter.eps
        x = x - _along(mean, x, parameter.axis)
        x = x / _along(np.sqrt(variance + eps), x, parameter.axis)
    return np.asarray(_along(scale, x, parameter.axis) * x + _along(shift, x, parameter.axis))
