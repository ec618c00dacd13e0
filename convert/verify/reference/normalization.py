"""LRN, Normalize and Softmax."""

from collections.abc import Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.verify.reference.registry import formula
from geometry.arrays import F64


@formula("LRN")
def lrn(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """X / (k + alpha / n · Σ x²) ^ beta over n channels, or within a channel over n × n pixels.

    Within a channel Caffe divides by n² and takes 1 for k, whatever the file says: lrn_layer.cpp
    builds it from an average pooling and a Power layer with shift 1.
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


@formula("Normalize")
def normalize(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Scale · x / √(Σ x² + eps), over the channels of each pixel or, across_spatial, of the image.

    Source: normalize_layer.cpp of SSD's Caffe.
    """
    (x,) = bottoms
    parameter = layer.parameter.norm_param
    axes = (1, 2, 3) if parameter.across_spatial else (1,)
    norm = np.sqrt((x**2).sum(axis=axes, keepdims=True) + parameter.eps)
    return np.asarray(x / norm * layer.blobs[0].astype(np.float64).reshape(-1, 1, 1))


@formula("Softmax")
def softmax(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """e^(x - max) / Σ e^(x - max) along one axis (softmax_layer.cpp)."""
    (x,) = bottoms
    axis = layer.parameter.softmax_param.axis
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))
