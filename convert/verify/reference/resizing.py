"""Interp, Upsample and Resample."""

import math
from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("Interp")
def interp(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Bilinear resizing that maps corners to corners.

    A negative pad crops first (interp_layer.cpp and util/interp.cpp of DeepLab and PSPNet).
    """
    (x,) = bottoms
    parameter = layer.parameter.interp_param
    begin, end = -parameter.pad_beg, -parameter.pad_end
    x = x[:, :, begin : x.shape[2] - end, begin : x.shape[3] - end]
    for axis, stated in ((2, parameter.height), (3, parameter.width)):
        length = x.shape[axis]
        if parameter.HasField("shrink_factor") or parameter.HasField("zoom_factor"):
            stated = (length - 1) // parameter.shrink_factor + 1
            stated += (stated - 1) * (parameter.zoom_factor - 1)
        x = np.moveaxis(_stretched(np.moveaxis(x, axis, -1), stated), -1, axis)
    return x


@formula("Upsample", jumps=lambda layer: len(layer.bottoms) == 2)
def upsample(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Each pixel repeated down and across (upsample_layer.cpp of the forks for pyramids).

    With a mask each pixel goes back to its place (upsample_layer.cpp of SegNet's Caffe).
    """
    x = bottoms[0]
    parameter = layer.parameter.upsample_param
    down = parameter.scale_h if parameter.HasField("scale_h") else parameter.scale
    across = parameter.scale_w if parameter.HasField("scale_w") else parameter.scale
    if len(bottoms) == 2:
        height = parameter.upsample_h or x.shape[2] * down - parameter.pad_out_h
        width = parameter.upsample_w or x.shape[3] * across - parameter.pad_out_w
        return placed(x, bottoms[1], height, width)
    if parameter.upsample_h:
        down = parameter.upsample_h // x.shape[2]
    if parameter.upsample_w:
        across = parameter.upsample_w // x.shape[3]
    return x.repeat(down, axis=2).repeat(across, axis=3)


@formula("Unpooling", jumps=True)
def unpooling(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Each pixel put back to where the mask says (unpooling_layer.cpp of DeconvNet's Caffe)."""
    x, mask = bottoms
    parameter = layer.parameter.unpooling_param
    sides = (
        (parameter.kernel_h, parameter.stride_h, parameter.pad_h, parameter.unpool_h),
        (parameter.kernel_w, parameter.stride_w, parameter.pad_w, parameter.unpool_w),
    )
    height, width = (
        max(
            (length - 1) * (stride or parameter.stride)
            + (kernel or parameter.kernel_size)
            - 2 * (pad or parameter.pad),
            least or parameter.unpool_size,
        )
        for length, (kernel, stride, pad, least) in zip(x.shape[2:], sides, strict=True)
    )
    return placed(x, mask, height, width)


def placed(x: F64, mask: F64, height: int, width: int) -> F64:
    """Zeros, with each element of x at the position in its plane that the mask gives."""
    y = np.zeros((*x.shape[:2], height * width))
    places = mask.astype(np.int64).reshape(*x.shape[:2], -1)
    np.put_along_axis(y, places, x.reshape(*x.shape[:2], -1), axis=2)
    return y.reshape(*x.shape[:2], height, width)


@formula("ImResize")
def im_resize(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Bicubic with Catmull and Rom's weights (imresize_layer.cu of OpenPose's Caffe)."""
    (x,) = bottoms
    parameter = layer.parameter.imresize_param
    for axis, target in ((2, parameter.target_spatial_height), (3, parameter.target_spatial_width)):
        length = x.shape[axis]
        size = int(length * parameter.factor) or target
        ratio = parameter.factor or size / length
        places = (np.arange(size) + 0.5) / ratio - 0.5
        low = np.floor(places).astype(np.int64)
        d = (places - low).reshape(-1, *[1] * (3 - axis))
        v0, v1, v2, v3 = (x.take((low + k).clip(0, length - 1), axis) for k in (-1, 0, 1, 2))
        x = (
            (-0.5 * v0 + 1.5 * v1 - 1.5 * v2 + 0.5 * v3) * d**3
            + (v0 - 2.5 * v1 + 2 * v2 - 0.5 * v3) * d**2
            - 0.5 * (v0 - v2) * d
            + v1
        )
    return x


def _stretched(x: F64, size: int) -> F64:
    """The last axis at `size` positions evenly from its first to its last element."""
    last = x.shape[-1] - 1
    places = np.arange(size) * (last / (size - 1) if size > 1 else 0.0)
    low = np.minimum(places.astype(np.int64), last)
    high = np.minimum(low + 1, last)
    share = places - low
    return np.asarray(x[..., low] * (1 - share) + x[..., high] * share)


@formula("Resample")
def resample(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """A weighted mean of the pixels around each place of the result.

    The half pixel of each axis is that of the other one, as in FlowNet 2's resample_layer.cu.
    """
    x = bottoms[0]
    parameter = layer.parameter.resample_param
    target = bottoms[1].shape[2:] if len(bottoms) == 2 else (parameter.height, parameter.width)
    fy, fx = (np.float32(a) / np.float32(b) for a, b in zip(x.shape[2:], target, strict=True))
    two, half = np.float32(2), np.float32(0.5)
    smooth = parameter.antialias and bool(max(fx, fy) > 1)
    y = np.zeros((*x.shape[:2], *target))
    for row, column in np.ndindex(*target):
        y_in = np.float32(row) * fy + fx / two - half
        x_in = np.float32(column) * fx + fy / two - half
        if parameter.type == caffe_pb2.ResampleParameter.NEAREST:
            y[:, :, row, column] = x[:, :, _round(y_in), _round(x_in)]
            continue
        down = _window(y_in, float(fy), smooth, parameter.type, x.shape[2])
        across = _window(x_in, float(fx), smooth, parameter.type, x.shape[3])
        total = down.sum() * across.sum()
        if total:
            y[:, :, row, column] = np.einsum("nchw,h,w->nc", x, down, across) / total
    return y


def _round(place: np.float32) -> int:
    """C's round: halves away from 0."""
    return int(math.copysign(math.floor(abs(float(place)) + 0.5), place))


def _window(place: np.float32, ratio: float, smooth: bool, kind: int, length: int) -> F64:
    """The weight of each pixel along an axis."""
    cubic = kind == caffe_pb2.ResampleParameter.CUBIC
    scale = 1 / ratio if smooth else 1.0
    reach = 2 if ratio < 1 else math.ceil((4 if cubic else 2) / scale)
    weights = np.zeros(length)
    for pixel in range(_round(place) - reach, _round(place) + reach + 1):
        if 0 <= pixel < length:
            distance = abs(scale * (float(place) - pixel))
            if not cubic:
                weights[pixel] = max(0.0, 1 - distance)
            elif distance <= 1:
                weights[pixel] = 1.5 * distance**3 - 2.5 * distance**2 + 1
            elif distance < 2:
                weights[pixel] = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return weights
