"""Functions of each element: ReLU, Clip, PReLU, ELU, Sigmoid, TanH, AbsVal, Power, Exp, Log."""

from collections.abc import Sequence

import numpy as np

from convert.caffe.network import Layer
from convert.verify.reference.registry import ROUNDING, formula
from geometry.arrays import F64


@formula("ReLU")
def relu(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Where x > 0, x; elsewhere negative_slope · x (relu_layer.cpp). At most 6 with `relu6`."""
    (x,) = bottoms
    parameter = layer.parameter.relu_param
    y = np.where(x > 0, x, parameter.negative_slope * x)
    return np.minimum(y, 6) if parameter.relu6 else y


@formula("ReLU6")
def relu6(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """min(max(x, 0), 6)."""
    return np.clip(bottoms[0], 0, 6)


@formula("Clip")
def clip(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """min(max(x, min), max) (clip_layer.cpp)."""
    limits = layer.parameter.clip_param
    return np.clip(bottoms[0], limits.min, limits.max)


@formula("PReLU")
def prelu(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Where x > 0, x; elsewhere slope · x, with a slope for each channel (prelu_layer.cpp)."""
    (x,) = bottoms
    slopes = layer.blobs[0].astype(np.float64).reshape(-1)
    if layer.parameter.prelu_param.channel_shared:
        slopes = np.full(x.shape[1], slopes[0])
    return np.where(x > 0, x, x * slopes.reshape(-1, *[1] * (x.ndim - 2)))


def _exponential(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """A rounding of alpha · eˣ: Caffe and onnxruntime subtract alpha from it in float32."""
    exponential = np.exp(np.minimum(bottoms[0], 0))
    return np.asarray(ROUNDING * layer.parameter.elu_param.alpha * exponential)


@formula("ELU", inner=_exponential)
def elu(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Where x > 0, x; elsewhere alpha · (eˣ - 1) (elu_layer.cpp)."""
    (x,) = bottoms
    return np.where(x > 0, x, layer.parameter.elu_param.alpha * np.expm1(np.minimum(x, 0)))


@formula("Sigmoid")
def sigmoid(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """1 / (1 + e⁻ˣ), written with tanh, which can't overflow (sigmoid_layer.cpp)."""
    return 0.5 * np.tanh(0.5 * bottoms[0]) + 0.5


@formula("TanH")
def tanh(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The hyperbolic tangent of x (tanh_layer.cpp)."""
    return np.tanh(bottoms[0])


@formula("AbsVal")
def abs_val(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """|x| (absval_layer.cpp)."""
    return np.abs(bottoms[0])


@formula("Power")
def power(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """(shift + scale · x) ^ power (power_layer.cpp)."""
    parameter = layer.parameter.power_param
    return np.power(parameter.shift + parameter.scale * bottoms[0], parameter.power)


@formula("Exp")
def exp(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Powers base ^ (shift + scale · x), where base -1 stands for e (exp_layer.cpp)."""
    parameter = layer.parameter.exp_param
    base = np.e if parameter.base == -1 else parameter.base
    return np.power(base, parameter.shift + parameter.scale * bottoms[0])


@formula("Log")
def log(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """The logarithm of shift + scale · x to a base, where -1 stands for e (log_layer.cpp)."""
    parameter = layer.parameter.log_param
    logarithm = np.log(parameter.shift + parameter.scale * bottoms[0])
    return logarithm if parameter.base == -1 else logarithm / np.log(parameter.base)


@formula("BNLL")
def bnll(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """ln(1 + eˣ), without overflow (bnll_layer.cpp)."""
    return np.asarray(np.logaddexp(0, bottoms[0]))


@formula("Swish")
def swish(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Products x · sigmoid(beta · x) (swish_layer.cpp)."""
    (x,) = bottoms
    return np.asarray(x * (0.5 * np.tanh(0.5 * layer.parameter.swish_param.beta * x) + 0.5))


@formula("HardSwish")
def hard_swish(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Products x · min(max(x + 3, 0), 6) / 6 (MobileNet v3)."""
    (x,) = bottoms
    return np.asarray(x * np.clip(x + 3, 0, 6) / 6)


@formula("Mish")
def mish(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """Products x · tanh(ln(1 + eˣ)) (YOLO v4)."""
    (x,) = bottoms
    return np.asarray(x * np.tanh(np.logaddexp(0, x)))


@formula("Threshold", jumps=True)
def threshold(layer: Layer, bottoms: Sequence[F64]) -> F64:
    """1 where x is above the threshold, else 0 (threshold_layer.cpp)."""
    return np.asarray(bottoms[0] > layer.parameter.threshold_param.threshold, np.float64)
