"""Interp and Upsample."""

from collections.abc import Sequence

import numpy as np

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


@formula("Upsample")
def upsample(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Each pixel repeated down and across (upsample_layer.cpp of the forks for pyramids).

    With a second bottom, SegNet's: each pixel put where the mask says, the others 0.
    """
    x = bottoms[0]
    parameter = layer.parameter.upsample_param
    if len(bottoms) == 2:
        return _unpooled(x, bottoms[1], layer)
    down = parameter.scale_h if parameter.HasField("scale_h") else parameter.scale
    across = parameter.scale_w if parameter.HasField("scale_w") else parameter.scale
    if parameter.upsample_h:
        down = parameter.upsample_h // x.shape[2]
    if parameter.upsample_w:
        across = parameter.upsample_w // x.shape[3]
    return x.repeat(down, axis=2).repeat(across, axis=3)


def _unpooled(x: F64, mask: F64, layer: Layer) -> F64:
    """Pixels at the places of a mask (SegNet's upsample_layer.cpp)."""
    parameter = layer.parameter.upsample_param
    down = parameter.scale_h if parameter.HasField("scale_h") else parameter.scale
    across = parameter.scale_w if parameter.HasField("scale_w") else parameter.scale
    height = parameter.upsample_h or x.shape[2] * down - parameter.pad_out_h
    width = parameter.upsample_w or x.shape[3] * across - parameter.pad_out_w
    y = np.zeros((*x.shape[:2], height * width))
    places = mask.astype(np.int64).reshape(*x.shape[:2], -1)
    np.put_along_axis(y, places, x.reshape(*x.shape[:2], -1), axis=2)
    return y.reshape(*x.shape[:2], height, width)


def _stretched(x: F64, size: int) -> F64:
    """The last axis at `size` positions evenly from its first to its last element."""
    last = x.shape[-1] - 1
    places = np.arange(size) * (last / (size - 1) if size > 1 else 0.0)
    low = np.minimum(places.astype(np.int64), last)
    high = np.minimum(low + 1, last)
    share = places - low
    return np.asarray(x[..., low] * (1 - share) + x[..., high] * share)
