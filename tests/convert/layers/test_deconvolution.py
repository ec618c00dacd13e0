"""Deconvolution against OpenCV."""

from collections.abc import Callable

import numpy as np
import pytest

from convert.verify.reference.registry import formulas
from geometry.arrays import F32
from tests.convert.layers.conftest import parse

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "up" type: "Deconvolution" bottom: "data" top: "up"
                        convolution_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("parameter", "weight_shape", "outputs"),
    [
        ("num_output: 6 kernel_size: 3", (4, 6, 3, 3), 6),
        ("num_output: 6 kernel_size: 4 stride: 2 pad: 1", (4, 6, 4, 4), 6),
        ("num_output: 6 kernel_size: 3 stride: 3 group: 2", (4, 3, 3, 3), 6),
        ("num_output: 6 kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1", (4, 6, 2, 3), 6),
        ("num_output: 6 kernel_h: 3 kernel_w: 4 pad_h: 1 pad_w: 2", (4, 6, 3, 4), 6),
        ("num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 4", (4, 1, 4, 4), 4),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_opencv(
    agree: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    parameter: str,
    weight_shape: tuple[int, ...],
    outputs: int,
    bias: bool,
) -> None:
    blobs = [rng.normal(size=weight_shape)] + [rng.normal(size=outputs)] * bias
    text = parameter + ("" if bias else " bias_term: false")
    agree(layer(text), images(4, 5, 7), {"up": blobs})


def test_a_dilated_kernel_is_spread_out(
    run: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    """OpenCV ignores the dilation of a Deconvolution, so Caffe's col2im is written out."""
    x, weight = images(2, 4, 5), rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
    parameter = "num_output: 3 kernel_size: 3 stride: 2 dilation: 2 bias_term: false"
    found = run(layer(parameter), x, {"up": [weight]})["up"]
    expected = np.zeros((len(x), 3, 2 * 3 + 5, 2 * 4 + 5), np.float32)
    for i in range(3):
        for j in range(3):
            expected[:, :, 2 * i : 2 * i + 7 : 2, 2 * j : 2 * j + 9 : 2] += np.einsum(
                "co,nchw->nohw", weight[:, :, i, j], x
            )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_bilinear_filler_enlarges_each_channel(agree: Run, images: Callable[..., F32]) -> None:
    """Caffe's BilinearFiller (include/caffe/filler.hpp) for factor 2: kernel 4, pad 1."""
    ramp = 1 - np.abs(np.arange(4) / 2 - 0.75)
    weight = np.tile(np.outer(ramp, ramp), (3, 1, 1, 1))
    parameter = "num_output: 3 group: 3 kernel_size: 4 stride: 2 pad: 1 bias_term: false"
    x = np.ones((7, 3, 6, 6), np.float32)
    enlarged = agree(layer(parameter), x, {"up": [weight]})["up"]
    assert enlarged.shape == (7, 3, 12, 12)
    np.testing.assert_allclose(enlarged[:, :, 1:-1, 1:-1], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("num_output: 6 kernel_size: 3", [(6, 4, 3, 3), (6,)], "expected shape [4, 6, 3, 3]"),
        ("num_output: 6 kernel_size: 3 group: 4", [], "group is 4"),
        ("num_output: 6 kernel_size: 3 pad: 9", [(4, 6, 3, 3), (6,)], "smaller pad"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"up": [np.zeros(shape) for shape in shapes]}
    (found,) = problems(layer(parameter), images(4, 8, 8), blobs)
    assert message in found


@pytest.mark.parametrize(
    ("parameter", "shape", "kernel"),
    [
        ("kernel_size: 4 stride: 2 pad: 1", (7,), (4,)),
        ("kernel_size: 3 dilation: 2 group: 2", (7,), (3,)),
        ("kernel_size: 4 stride: 2 pad: 1", (3, 4, 5), (4, 4, 4)),
        ("kernel_size: [2, 3, 4] stride: [1, 2, 3] pad: [0, 1, 2]", (3, 4, 5), (2, 3, 4)),
    ],
)
def test_signals_and_volumes_agree_with_the_formula(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    parameter: str,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
) -> None:
    groups = 2 if "group" in parameter else 1
    x = images(4, *shape)
    blobs = [rng.normal(size=(4, 6 // groups, *kernel)), rng.normal(size=6)]
    text = layer(f"num_output: 6 {parameter}")
    found = run(text, x, {"up": blobs})["up"]
    (parsed,) = parse(text, {"data": x}, {"up": blobs}).layers
    (expected,) = formulas()["Deconvolution"].compute(parsed, [x.astype(np.float64)])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("kernel_size: 3 pad: 9", "pad [9] leaves nothing"),
        ("kernel_size: 3 group: 4", "group is 4"),
        ("kernel_h: 3 kernel_w: 3", "need 2 spatial axes, found 1"),
    ],
)
def test_what_does_not_fit_a_signal_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str, message: str
) -> None:
    blobs = {"up": [np.zeros((4, 6, 3)), np.zeros(6)]}
    (found,) = problems(layer(f"num_output: 6 {parameter}"), images(4, 7), blobs)
    assert message in found
