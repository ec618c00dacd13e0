"""Pooling3D against C3D's formula: OpenCV has no such layer."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str, field: str = "pooling3d_param") -> str:
    return f"""layer {{ name: "p" type: "Pooling3D" bottom: "data" top: "p"
                        {field} {{ {parameter} }} }}"""


def pooling3d(
    x: F32, kernel: tuple[int, int], stride: tuple[int, int], pad: int, average: bool
) -> F32:
    """Windows over time, height and width; kernel and stride are (time, side)."""
    kernels, strides = (kernel[0], kernel[1], kernel[1]), (stride[0], stride[1], stride[1])
    pads, lengths = (0, pad, pad), x.shape[2:]
    counts = [
        math.ceil((n + 2 * p - k) / s) + 1
        for n, k, s, p in zip(lengths, kernels, strides, pads, strict=True)
    ]
    result = np.zeros((*x.shape[:2], *counts), np.float32)
    for place in np.ndindex(*counts):
        starts = [i * s - p for i, s, p in zip(place, strides, pads, strict=True)]
        ends = [
            min(start + k, n + p)
            for start, k, n, p in zip(starts, kernels, lengths, pads, strict=True)
        ]
        size = math.prod(end - start for start, end in zip(starts, ends, strict=True))
        (l1, y1, x1), (l2, y2, x2) = [max(start, 0) for start in starts], ends
        part = x[:, :, l1:l2, y1:y2, x1:x2]
        found = part.sum((2, 3, 4)) / size if average else part.max((2, 3, 4))
        result[(slice(None), slice(None), *place)] = found
    return result


@pytest.mark.parametrize("field", ["pooling3d_param", "pooling_param"])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "average"),
    [
        ((1, 2), (1, 2), 0, False),
        ((2, 2), (2, 2), 0, False),
        ((2, 3), (2, 2), 0, False),
        ((2, 3), (2, 2), 1, True),
        ((3, 2), (2, 3), 0, True),
    ],
)
def test_is_c3ds_formula(
    run: Run,
    images: Callable[..., F32],
    field: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: int,
    average: bool,
) -> None:
    x = images(3, 5, 7, 8)
    text = layer(
        f"pool: {'AVE' if average else 'MAX'} kernel_size: {kernel[1]} stride: {stride[1]} "
        f"kernel_depth: {kernel[0]} temporal_stride: {stride[0]} pad: {pad}",
        field,
    )
    found = run(text, x)["p"]
    expected = pooling3d(x, kernel, stride, pad, average)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("kernel_size: 2", "state kernel_size and kernel_depth"),
        ("kernel_size: 2 kernel_depth: 2 pad: 1", "C3D supports padding only for AVE"),
        ("kernel_size: 2 kernel_depth: 2 temporal_pad: 1", "no padding in time"),
        ("kernel_size: 9 kernel_depth: 2", "use another input size"),
        ("pool: STOCHASTIC kernel_size: 2 kernel_depth: 2", "C3D can't compute"),
        ("pool: AVE kernel_size: 2 kernel_depth: 2 pad: 2", "must be smaller than the kernel"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(3, 5, 7, 8))
    assert message in found


def test_an_image_is_not_a_volume(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("kernel_size: 2 kernel_depth: 2"), images(3, 5, 5))
    assert "[batch, channels, time, height, width]" in found
