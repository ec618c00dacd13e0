"""Pooling against OpenCV and by Caffe's own loops."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool"
                        pooling_param {{ {parameter} }} }}"""


def caffe(
    x: F32,
    average: bool,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    floor: bool = False,
) -> F32:
    """PoolingLayer::Reshape and Forward_cpu, loop by loop (src/caffe/layers/pooling_layer.cpp)."""
    counts = []
    for axis in range(2):
        steps = (x.shape[2 + axis] + 2 * pad[axis] - kernel[axis]) / stride[axis]
        count = int(np.floor(steps) if floor else np.ceil(steps)) + 1
        if any(pad) and (count - 1) * stride[axis] >= x.shape[2 + axis] + pad[axis]:
            count -= 1
        counts.append(count)
    height, width = x.shape[2:]
    result = np.zeros((*x.shape[:2], *counts), np.float32)
    for row in range(counts[0]):
        for column in range(counts[1]):
            top, left = row * stride[0] - pad[0], column * stride[1] - pad[1]
            bottom = min(top + kernel[0], height + pad[0])
            right = min(left + kernel[1], width + pad[1])
            size = (bottom - top) * (right - left)
            part = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            result[:, :, row, column] = part.sum((2, 3)) / size if average else part.max((2, 3))
    return result


@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [
        ((3, 3), (2, 2), (0, 0)),
        ((2, 2), (2, 2), (0, 0)),
        ((3, 3), (2, 2), (1, 1)),
        ((3, 3), (1, 1), (1, 1)),
        ((2, 2), (2, 2), (1, 1)),  # the last window is left out on even sizes
        ((5, 5), (3, 3), (2, 2)),
        ((4, 4), (3, 3), (1, 1)),
        ((2, 5), (1, 3), (0, 2)),
        ((3, 2), (3, 2), (1, 0)),
        ((7, 7), (1, 1), (3, 3)),
    ],
)
@pytest.mark.parametrize("size", [(7, 8), (8, 9), (10, 11), (12, 7)])
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(
    "rounding", ["", "round_mode: FLOOR", "ceil_mode: false", "torch_pooling: true"]
)
def test_agrees_with_caffes_loops(
    run: Run,
    images: Callable[..., F32],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    size: tuple[int, int],
    pool: str,
    rounding: str,
) -> None:
    parameter = f"""pool: {pool} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]}
                    stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} {rounding}"""
    x = images(2, *size)
    expected = caffe(x, pool == "AVE", kernel, stride, pad, floor=bool(rounding))
    found = run(layer(parameter), x)["pool"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "parameter",
    [
        "pool: MAX kernel_size: 3 stride: 2",
        "pool: MAX kernel_size: 2 stride: 2",
        "pool: MAX kernel_size: 2 stride: 2 pad: 1",
        "pool: MAX kernel_size: 3 stride: 2 pad: 1",
        "pool: MAX kernel_size: 3 stride: 1 pad: 1",
        "pool: AVE kernel_size: 3 stride: 1 pad: 1",
        "pool: AVE kernel_size: 3 stride: 2",
        "pool: AVE kernel_size: 2 stride: 2",
        "pool: AVE kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1",
        "pool: MAX global_pooling: true",
        "pool: AVE global_pooling: true",
    ],
)
@pytest.mark.parametrize("size", [(7, 9), (8, 6)])
def test_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], parameter: str, size: tuple[int, int]
) -> None:
    agree(layer(parameter), images(3, *size))


def test_a_kernel_larger_than_the_input_takes_what_there_is(
    run: Run, images: Callable[..., F32]
) -> None:
    x = images(2, 2, 2)
    found = run(layer("pool: AVE kernel_size: 3 stride: 2"), x)["pool"]
    np.testing.assert_allclose(found[:, :, 0, 0], x.mean((2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("parameter", "windows"),
    [
        ("kernel_size: 2 stride: 2", [(0, 2), (2, 4), (4, 5)]),
        ("kernel_size: 3 stride: 2 round_mode: FLOOR", [(0, 3), (2, 5)]),
        ("global_pooling: true", [(0, 5)]),
    ],
)
def test_stochastic_pooling_weights_each_number_by_itself(
    run: Run, images: Callable[..., F32], parameter: str, windows: list[tuple[int, int]]
) -> None:
    """Only training draws one. A window whose sum is not positive gives 0."""
    x = np.abs(images(2, 5, 5))
    x[:, 0, :2, :2] = 0
    x[:, 1, 2:, 2:] *= -1
    found = run(layer(f"pool: STOCHASTIC {parameter}"), x)["pool"]
    expected = np.zeros_like(found)
    for row, (top, bottom) in enumerate(windows):
        for column, (left, right) in enumerate(windows):
            seen = x[:, :, top:bottom, left:right].astype(float)
            total = seen.sum((2, 3))
            weighted = (seen**2).sum((2, 3)) / np.where(total > 0, total, 1)
            expected[:, :, row, column] = np.where(total > 0, weighted, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", "STOCHASTIC allows no padding"),
        ("pool: MAX", "kernel_size is missing"),
        ("kernel_size: 2 stride: 0", "stride"),
        ("kernel_size: 2 kernel_h: 3 kernel_w: 3", "both given"),
        ("kernel_size: 2 pad: 2", "smaller than the kernel"),
        ("kernel_size: 20", "doesn't fit"),
        ("kernel_size: 1 stride: 3", "starts past the end of the input"),
        ("global_pooling: true kernel_size: 2", "remove the kernel size"),
        ("global_pooling: true pad: 1", "no padding"),
        ("global_pooling: true stride: 2", "no stride"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer(parameter), images(2, 9, 9))
    assert message in found


@pytest.mark.parametrize(
    ("parameter", "sides"),
    [
        ("kernel_size: 2 stride: 2", (8, 8)),
        ("kernel_size: 2 stride: 2", (7, 9)),
        ("kernel_size: 3 stride: 2 pad: 1", (7, 8)),
        ("global_pooling: true", (5, 6)),
    ],
)
def test_the_mask_says_where_the_first_maximum_lies_in_its_plane(
    run: Run, images: Callable[..., F32], parameter: str, sides: tuple[int, int]
) -> None:
    text = f"""layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"
                       pooling_param {{ {parameter} }} }}"""
    x = images(2, *sides).round()  # rounded, so that there are ties
    found = run(text, x)
    mask = found["mask"].astype(int)
    planes = x.reshape(*x.shape[:2], -1)
    at_mask = np.take_along_axis(planes, mask.reshape(*x.shape[:2], -1), 2)
    np.testing.assert_array_equal(at_mask.reshape(mask.shape), found["pool"])
    if "pad" in parameter or "global" in parameter:
        return
    for row, column in np.ndindex(*mask.shape[2:]):
        window = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        first = window.reshape(*x.shape[:2], -1).argmax(2)
        down, across = np.divmod(first, window.shape[3])
        expected = (2 * row + down) * x.shape[3] + 2 * column + across
        np.testing.assert_array_equal(mask[:, :, row, column], expected)


def test_an_average_has_no_mask(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = """layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"
                      pooling_param { pool: AVE kernel_size: 2 } }"""
    (found,) = problems(text, images(2, 8, 8))
    assert "only pool MAX has a second top" in found
