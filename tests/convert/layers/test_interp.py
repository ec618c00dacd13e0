"""Interp against OpenCV and the fork's loops, and Upsample against NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str) -> str:
    field = {"Interp": "interp_param", "Upsample": "upsample_param"}[layer_type]
    return f"""layer {{ name: "big" type: "{layer_type}" bottom: "data" top: "big"
                        {field} {{ {parameter} }} }}"""


def caffe_interp(x: F32, height: int, width: int) -> F32:
    """caffe_cpu_interp2 (DeepLab's src/caffe/util/interp.cpp): bilinear, corners on corners.

    OpenCV knows neither pad_beg and pad_end nor a shrink_factor alone.
    """
    result = x.astype(float)
    for axis, size in ((2, height), (3, width)):
        length = x.shape[axis]
        ratio = (length - 1) / (size - 1) if size > 1 else 0
        position = ratio * np.arange(size)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (position - low).reshape(-1, *(1,) * (3 - axis))
        result = np.take(result, low, axis) * (1 - share) + np.take(result, high, axis) * share
    return result.astype(np.float32)


@pytest.mark.parametrize(
    ("parameter", "size"),
    [
        ("height: 9 width: 20", (9, 20)),
        ("height: 3 width: 2", (3, 2)),
        ("height: 1 width: 1", (1, 1)),
        ("height: 5 width: 7", (5, 7)),
        ("zoom_factor: 2", (9, 13)),
        ("zoom_factor: 3", (13, 19)),
        ("shrink_factor: 2", (3, 4)),
        ("shrink_factor: 2 zoom_factor: 3", (7, 10)),
        ("height: 33 width: 47", (33, 47)),
    ],
)
def test_interp_aligns_the_corners(
    run: Run, images: Callable[..., F32], parameter: str, size: tuple[int, int]
) -> None:
    x = images(3, 5, 7)
    found = run(layer("Interp", parameter), x)["big"]
    assert found.shape[2:] == size
    np.testing.assert_allclose(found, caffe_interp(x, *size), atol=1e-5)


def test_interp_crops_before_it_resizes(run: Run, images: Callable[..., F32]) -> None:
    x = images(3, 7, 8)
    found = run(layer("Interp", "pad_beg: -1 pad_end: -2 zoom_factor: 2"), x)["big"]
    np.testing.assert_allclose(found, caffe_interp(x[:, :, 1:-2, 1:-2], 7, 9), atol=1e-5)


@pytest.mark.parametrize("parameter", ["height: 9 width: 20", "zoom_factor: 2"])
def test_interp_agrees_with_opencv(agree: Run, images: Callable[..., F32], parameter: str) -> None:
    agree(layer("Interp", parameter), images(3, 5, 7))


@pytest.mark.parametrize("source", range(1, 40, 3))
def test_no_size_is_lost_to_rounding(run: Run, source: int) -> None:
    x = np.ones((1, 1, source, source + 1), np.float32)
    found = run(layer("Interp", f"height: {source * 3 + 1} width: {source * 7 - 1}"), x)["big"]
    assert found.shape == (1, 1, source * 3 + 1, source * 7 - 1)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "state height and width"),
        ("height: 4", "state height and width"),
        ("zoom_factor: 0", "at least 1"),
        ("pad_beg: 1 zoom_factor: 2", "below to crop"),
        ("pad_beg: -3 pad_end: -2 zoom_factor: 2", "leave nothing"),
    ],
)
def test_sizes_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer("Interp", parameter), images(3, 5, 7))
    assert message in found


@pytest.mark.parametrize(
    ("parameter", "scale"),
    [
        ("", (2, 2)),
        ("scale: 3", (3, 3)),
        ("scale_h: 1 scale_w: 4", (1, 4)),
        ("upsample_h: 10 upsample_w: 21", (2, 3)),
    ],
)
def test_upsample_repeats_pixels(
    run: Run, images: Callable[..., F32], parameter: str, scale: tuple[int, int]
) -> None:
    """OpenCV has no Upsample for Caffe files."""
    x = images(3, 5, 7)
    found = run(layer("Upsample", parameter), x)["big"]
    np.testing.assert_array_equal(found, x.repeat(scale[0], 2).repeat(scale[1], 3))


def test_a_part_of_a_pixel_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("Upsample", "upsample_h: 12 upsample_w: 14"), images(3, 5, 7))
    assert "5 by 7 pixels can't be repeated to 12 by 14" in found
