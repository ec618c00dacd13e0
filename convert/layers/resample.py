"""Resample."""

from collections.abc import Callable, Sequence

import numpy as np

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer
from convert.graph import GraphBuilder, Value
from convert.layers.blobs import image_size
from convert.layers.registry import LayerError, handler
from geometry.arrays import F32, F64, I64

SIDE_LIMIT = 16_384
"""The longest side of the result, in pixels."""


@handler("Resample", bottoms=(1, 2))
def resample(layer: Layer, graph: GraphBuilder, inputs: Sequence[Value]) -> Value:
    """Resizing to `height` and `width` or to a second bottom's size: NEAREST, LINEAR or CUBIC.

    With `antialias` the filter is as wide as a pixel of the result where that is larger. Pixels
    outside the image have no weight. Each side is one product with a matrix. Caffe, FlowNet 2:
    src/caffe/layers/resample_layer.cu.
    """
    x = inputs[0]
    parameter = layer.parameter.resample_param
    size = image_size(x)
    target = (parameter.height, parameter.width) if len(inputs) == 1 else image_size(inputs[1])
    if min(target) < 1:
        raise LayerError("state height and width, or give a second bottom that has the size")
    if max(target) > SIDE_LIMIT:
        raise LayerError(f"height and width must be at most {SIDE_LIMIT}")
    kinds = caffe_pb2.ResampleParameter
    if parameter.type == kinds.AREA:
        raise LayerError("Caffe can't compute type AREA; use NEAREST, LINEAR or CUBIC")
    places = _places(size, target)
    if parameter.type == kinds.NEAREST:
        return _nearest(layer, graph, x, places)
    coefficients, reach = (_cubic, 4) if parameter.type == kinds.CUBIC else (_triangle, 2)
    widens = parameter.antialias and (size[0] > target[0] or size[1] > target[1])
    down, across = (
        _weights(place, length, length / made if widens else 1.0, coefficients, reach)
        for place, length, made in zip(places, size, target, strict=True)
    )
    right = graph.constant(across.T, f"{layer.name}/across")
    wide = graph.node("MatMul", [x, right], (*x.shape[:3], target[1]))
    left = graph.constant(down, f"{layer.name}/down")
    return graph.node("MatMul", [left, wide], (*x.shape[:2], *target), name=layer.tops[0])


def _places(size: tuple[int, int], target: tuple[int, int]) -> tuple[F32, F32]:
    """Where the rows and columns of the result lie in the image, in pixels.

    Half a pixel of the result is taken from the other axis: the code has fx and fy the wrong way
    round, which matters only if the two ratios differ. Caffe computes in float32.
    """
    ratios = [
        np.float32(length) / np.float32(made) for length, made in zip(size, target, strict=True)
    ]
    half = np.float32(0.5)
    down, across = (
        np.arange(made, dtype=np.float32) * own + other * half - half
        for made, own, other in zip(target, ratios, ratios[::-1], strict=True)
    )
    return down, across


def _nearest(layer: Layer, graph: GraphBuilder, x: Value, places: tuple[F32, F32]) -> Value:
    name: str | None = None
    for axis, place in enumerate(places, start=2):
        rows = _rounded(place)
        if rows.min() < 0 or rows.max() >= x.static(axis):
            raise LayerError(
                "Caffe would read pixels outside the image, because the ratios of height and width "
                "differ; use type LINEAR"
            )
        name = layer.tops[0] if axis == 3 else None
        indices = graph.constant(rows, f"{layer.name}/axis{axis}")
        shape = (*x.shape[:axis], len(rows), *x.shape[axis + 1 :])
        x = graph.node("Gather", [x, indices], shape, name=name, axis=axis)
    return x


def _rounded(place: F32) -> I64:
    """To the next whole number; halves away from 0, as C's round does."""
    return (np.sign(place) * np.floor(np.abs(place.astype(np.float64)) + 0.5)).astype(np.int64)


def _weights(
    place: F32, length: int, stretch: float, coefficients: Callable[[F64], F64], reach: int
) -> F32:
    """The weight of each pixel of the image [length] for each of the result: [made, length]."""
    distances = place.astype(np.float64)[:, None] - np.arange(length)
    weights = coefficients(distances / stretch)
    radius = max(2, int(np.ceil(reach * stretch)))
    weights[np.abs(_rounded(place)[:, None] - np.arange(length)) > radius] = 0
    sums = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / np.where(sums == 0, 1, sums), np.float32)


def _triangle(distance: F64) -> F64:
    return np.asarray((1 - np.abs(distance)).clip(0))


def _cubic(distance: F64) -> F64:
    """Keys' kernel with a = −0.5."""
    x = np.abs(distance)
    near = x * x * (1.5 * x - 2.5) + 1
    far = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
