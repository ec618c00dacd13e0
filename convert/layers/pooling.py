"""Pooling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler

LARGEST_EXACT = 1 << 24
"""float32 represents every whole number up to this one."""


@dataclass(frozen=True)
class Axis:
    """The windows along one axis."""

    length: int
    kernel: int
    stride: int
    pad: int
    count: int

    @property
    def end(self) -> int:
        """The padding after the input that the last window reaches into."""
        return max(0, (self.count - 1) * self.stride + self.kernel - self.length - self.pad)

    @property
    def counted(self) -> list[int]:
        """The divisor of each window's average: its pixels, up to `pad` after the input."""
        starts = [index * self.stride - self.pad for index in range(self.count)]
        return [min(start + self.kernel, self.length + self.pad) - start for start in starts]


@handler("Pooling", tops=(1, 2))
def pooling(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> list[Value]:
    """The maximum or the average of each window, out = ⌈(in + 2·pad − kernel) / stride⌉ + 1.

    `pool: STOCHASTIC` is random in training only; else it gives Σ x² / Σ x, or 0 where Σ x ≤ 0.

    `round_mode: FLOOR`, `ceil_mode: false` and `torch_pooling: true` round down. With padding, a
    last window that would start past the input and its front padding is left out. An average is
    divided by the part of the window that lies in the input and its padding, not beyond. A second
    top is the mask of maxima: the position of each in its plane, row · width + column. Caffe:
    src/caffe/layers/pooling_layer.cpp.
    """
    (x,) = inputs
    parameter = layer.parameter.pooling_param
    if len(layer.tops) == 2:
        return _with_mask(layer, graph, x)
    return [pooled(graph, x, parameter, layer.tops[0])]


def pooled(
    graph: GraphBuilder, x: Value, parameter: caffe_pb2.PoolingParameter, name: str | None
) -> Value:
    """Pool x as Caffe's Pooling layer with these parameters does."""
    if parameter.pool == caffe_pb2.PoolingParameter.STOCHASTIC:
        return _expected(graph, x, parameter, name)
    average = parameter.pool == caffe_pb2.PoolingParameter.AVE
    height, width = image_size(x)
    if parameter.global_pooling:
        _check_global(parameter)
        operator = "GlobalAveragePool" if average else "GlobalMaxPool"
        return graph.node(operator, [x], (*x.shape[:2], 1, 1), name=name)
    axes = _axes(parameter, height, width)
    shape = (*x.shape[:2], *(axis.count for axis in axes))
    window = _window(axes)
    if not average:
        return graph.node("MaxPool", [x], shape, name=name, **window)
    if not any(axis.pad for axis in axes):
        # Caffe counts none of the padding
        return graph.node("AveragePool", [x], shape, name=name, count_include_pad=0, **window)
    whole = all(axis.end <= axis.pad for axis in axes)
    averages = graph.node(
        "AveragePool", [x], shape, name=name if whole else None, count_include_pad=1, **window
    )
    if whole:
        return averages
    counted = np.outer(*(np.array(axis.counted, np.float64) for axis in axes))
    correction = axes[0].kernel * axes[1].kernel / counted
    constant = graph.constant(correction, f"{name or x.name}/clipped")
    return graph.node("Mul", [averages, constant], shape, name=name)


def _expected(
    graph: GraphBuilder, x: Value, parameter: caffe_pb2.PoolingParameter, name: str | None
) -> Value:
    """The mean of each window, weighted by the numbers themselves.

    Training draws one number with that weight. Caffe: StoPoolForwardTest in pooling_layer.cu.
    """
    if any(read_pair(parameter, "pad", "pad_h", "pad_w")):
        raise LayerError("pool STOCHASTIC allows no padding; set pad to 0")
    average = caffe_pb2.PoolingParameter()
    average.CopyFrom(parameter)
    average.pool = caffe_pb2.PoolingParameter.AVE
    squares = pooled(graph, graph.node("Mul", [x, x], x.shape), average, None)
    means = pooled(graph, x, average, None)
    shape = means.shape
    zero = graph.constant(0.0, f"{name or x.name}/zero")
    one = graph.constant(1.0, f"{name or x.name}/one")
    positive = graph.node("Greater", [means, zero], shape, dtype=np.bool_)
    divisor = graph.node("Where", [positive, means, one], shape)
    quotient = graph.node("Div", [squares, divisor], shape)
    return graph.node("Where", [positive, quotient, zero], shape, name=name)


def _with_mask(layer: Layer, graph: GraphBuilder, x: Value) -> list[Value]:
    """The maxima, and the position of each in its plane of the input as float32."""
    parameter = layer.parameter.pooling_param
    if parameter.pool != caffe_pb2.PoolingParameter.MAX:
        raise LayerError("only pool MAX has a second top, the mask of maxima; remove it")
    height, width = image_size(x)
    if height * width > LARGEST_EXACT:
        raise LayerError(f"the mask can't number {height * width} pixels exactly in float32")
    if parameter.global_pooling:
        _check_global(parameter)
        axes = [Axis(height, height, 1, 0, 1), Axis(width, width, 1, 0, 1)]
    else:
        axes = _axes(parameter, height, width)
    shape = (*x.shape[:2], *(axis.count for axis in axes))
    top, mask = layer.tops
    maxima, places = graph.node_with_outputs(
        "MaxPool",
        [x],
        [shape, shape],
        names=[top, None],
        dtypes=[np.float32, np.int64],
        **_window(axes),
    )
    # ONNX's indices run through the whole tensor, Caffe's restart in each plane.
    plane = graph.constant(np.array(height * width, np.int64), f"{layer.name}/plane")
    inside = graph.node("Mod", [places, plane], shape, dtype=np.int64)
    return [maxima, graph.node("Cast", [inside], shape, name=mask, to=1)]


def _window(axes: Sequence[Axis]) -> dict[str, list[int]]:
    """The attributes of ONNX's pooling operators."""
    return {
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        # ONNX's ceil_mode differs from Caffe in the last window, so the padding is explicit.
        "pads": [*(axis.pad for axis in axes), *(axis.end for axis in axes)],
    }


def _check_global(parameter: caffe_pb2.PoolingParameter) -> None:
    if any(parameter.HasField(name) for name in ("kernel_size", "kernel_h", "kernel_w")):
        raise LayerError("global_pooling pools the whole image; remove the kernel size")
    if parameter.pad or parameter.pad_h or parameter.pad_w:
        raise LayerError("global_pooling allows no padding; remove it")
    if parameter.stride != 1 or max(parameter.stride_h, parameter.stride_w) > 1:
        raise LayerError("global_pooling allows no stride; remove it")


def _axes(parameter: caffe_pb2.PoolingParameter, height: int, width: int) -> list[Axis]:
    kernel = read_pair(parameter, "kernel_size", "kernel_h", "kernel_w")
    stride = read_pair(parameter, "stride", "stride_h", "stride_w")
    pad = read_pair(parameter, "pad", "pad_h", "pad_w")
    if min(kernel) < 1:
        raise LayerError("kernel_size is missing; state it, or kernel_h and kernel_w")
    if min(stride) < 1:
        raise LayerError("stride must be at least 1")
    if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
        raise LayerError(f"pad {pad} must be smaller than the kernel {kernel}")
    floor = (
        parameter.round_mode == caffe_pb2.PoolingParameter.FLOOR
        or not parameter.ceil_mode
        or parameter.torch_pooling
    )
    return [
        _axis(length, *sizes, floor=floor, clip=any(pad))
        for length, *sizes in zip((height, width), kernel, stride, pad, strict=True)
    ]


def _axis(length: int, kernel: int, stride: int, pad: int, *, floor: bool, clip: bool) -> Axis:
    steps = (length + 2 * pad - kernel) / stride
    count = (math.floor(steps) if floor else math.ceil(steps)) + 1
    if clip and (count - 1) * stride >= length + pad:
        count -= 1
    if count < 1:
        raise LayerError(
            f"the kernel of {kernel} pixels doesn't fit the padded input of {length + 2 * pad}; "
            "use a larger input size"
        )
    if (count - 1) * stride >= length + pad:
        raise LayerError(
            f"the last window starts past the end of the input of {length} pixels, where "
            "Caffe's result is undefined; use a stride no larger than the kernel, or another "
            "input size"
        )
    return Axis(length, kernel, stride, pad, count)


def read_pair(
    parameter: caffe_pb2.PoolingParameter | caffe_pb2.UnpoolingParameter,
    name: str,
    height: str,
    width: str,
) -> tuple[int, int]:
    """A size that is stated once for both sides, or for height and width."""
    if parameter.HasField(height) or parameter.HasField(width):
        if parameter.HasField(name):
            raise LayerError(f"{name} and {height}/{width} are both given; keep one of them")
        return getattr(parameter, height), getattr(parameter, width)
    both: int = getattr(parameter, name)
    return both, both
