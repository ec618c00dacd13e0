"""Reorg against OpenCV and by Darknet's loops."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "Reorg" bottom: "data" top: "new"
                       reorg_param {{ {parameter} }} }}"""


def darknet(x: F32, stride: int) -> F32:
    """reorg_cpu of Darknet (src/blas.c) with forward = 0, as YOLO v2's layer calls it."""
    images, channels, height, width = x.shape
    planes = channels // stride**2
    y = np.empty_like(x)
    for image, k, j, i in np.ndindex(*x.shape):
        offset, plane = divmod(k, planes)
        across = i * stride + offset % stride
        down = j * stride + offset // stride
        place = across + width * stride * (down + height * stride * plane)
        y[image, k, j, i] = x[image].flat[place]
    return y.reshape(images, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize(
    ("shape", "stride"), [((8, 4, 6), 2), ((4, 4, 4), 2), ((9, 6, 3), 3), ((2, 3, 5), 1)]
)
def test_elements_come_in_darknets_order(
    run: Run, images: Images, shape: tuple[int, ...], stride: int
) -> None:
    x = images(*shape)
    found = run(layer(f"stride: {stride}"), x)["new"]
    np.testing.assert_array_equal(found, darknet(x, stride))


def test_opencv_agrees_on_stride_2_which_it_always_takes(agree: Run, images: Images) -> None:
    agree(layer("stride: 2"), images(8, 4, 6))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "stride is missing"),
        ("stride: 4", "the channels must be a multiple of 16"),
        ("stride: 2 reverse: true", "forks of Caffe implement it differently"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Problems, images: Images, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(8, 4, 6))
    assert message in found
