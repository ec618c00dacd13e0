"""Turns a convolution's arrays into the blobs of Caffe's layers."""

import numpy as np

from convert.caffe.weights import Blobs
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.tensorflow.names import Kernel, Parameter
from convert.tensorflow.units import Convolution
from geometry.arrays import F32, F64, Floats

CAFFE_EPSILON = 0.001
"""`batch_norm_param.eps` of every prototxt of the family."""
HALF_RANGE = 127.5
"""The zoo feeds RGB pixels / 127.5 - 1."""


def blobs(convolution: Convolution, preprocessing: Preprocessing) -> dict[str, Blobs]:
    """Blobs by layer name, for a network whose input has this `preprocessing` (three channels).

    The convolution's [height, width, in, out] becomes [out, in, height, width], a depthwise one's
    [height, width, in, multiplier] becomes [in * multiplier, 1, height, width]; biases [out] follow
    if it has any. BatchNorm becomes two layers: `/bn` of mean [out], variance [out] and the factor
    [1] that divides both, `/scale` of gamma [out] and beta [out].
    """
    layer, parts = convolution.unit.layer, convolution.parts
    weights = parts[Parameter.WEIGHTS].astype(np.float64)
    shift: F64 | float = 0.0
    if convolution.unit.kernel is Kernel.DEPTHWISE:
        height, width, channels, multiplier = weights.shape
        # Both frameworks number the output channel c * multiplier + m.
        kernel = weights.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    else:
        kernel = weights.transpose(3, 2, 0, 1)
    if convolution.unit.kernel is Kernel.STEM:
        kernel, shift = _stem(kernel, preprocessing)
    if not convolution.batch_norm:
        return {layer: (_single(kernel), _single(parts[Parameter.BIASES] + shift))}
    mean = parts[Parameter.MEAN] - np.asarray(shift)
    gamma = parts[Parameter.GAMMA].astype(np.float64)
    # The prototxt states Caffe's epsilon, so the variance compensates for the difference. Where
    # that would make it negative, it is 0 and gamma compensates for the rest.
    spread = parts[Parameter.VARIANCE].astype(np.float64) + convolution.epsilon
    variance = np.maximum(spread - CAFFE_EPSILON, 0.0)
    gamma *= np.sqrt((variance + CAFFE_EPSILON) / spread)
    return {
        layer: (_single(kernel),),
        f"{layer}/bn": (_single(mean), _single(variance), np.ones(1, np.float32)),
        f"{layer}/scale": (_single(gamma), _single(parts[Parameter.BETA])),
    }


def _stem(kernel: F64, preprocessing: Preprocessing) -> tuple[F64, F64]:
    """The first kernel for Caffe's input, and the constant to add to its output.

    `kernel` is [out, 3, height, width] on RGB / 127.5 - 1. Caffe's input is (pixel - mean) * scale,
    so that with kernel / (127.5 * scale)

        TensorFlow's output = Caffe's + sum of kernel * (mean / 127.5 - 1)

    wherever the window lies inside the image. Outside, both pad with 0, which is gray in TensorFlow
    and the mean colour in Caffe. No weights can make these equal unless the mean is 127.5.
    """
    if preprocessing.channel_order is ChannelOrder.BGR:
        kernel = kernel[:, ::-1]
    mean = np.array(preprocessing.mean, np.float64)
    shift = kernel.sum(axis=(2, 3)) @ (mean / HALF_RANGE - 1)
    return kernel / (HALF_RANGE * preprocessing.scale), shift


def _single(array: Floats) -> F32:
    return np.ascontiguousarray(array, dtype=np.float32)
