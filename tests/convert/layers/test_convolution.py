"""Convolution and its depthwise aliases against OpenCV."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str, layer_type: str = "Convolution") -> str:
    return f"""layer {{ name: "conv" type: "{layer_type}" bottom: "data" top: "conv"
                        convolution_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("parameter", "weight_shape"),
    [
        ("num_output: 6 kernel_size: 3", (6, 4, 3, 3)),
        ("num_output: 6 kernel_size: 3 pad: 1 stride: 2", (6, 4, 3, 3)),
        ("num_output: 6 kernel_size: 3 group: 2", (6, 2, 3, 3)),
        ("num_output: 4 kernel_size: 3 group: 4 pad: 1", (4, 1, 3, 3)),
        ("num_output: 8 kernel_size: 1 group: 4", (8, 1, 1, 1)),
        ("num_output: 6 kernel_size: 3 dilation: 2 pad: 2", (6, 4, 3, 3)),
        ("num_output: 6 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2", (6, 4, 3, 5)),
        ("num_output: 6 kernel_h: 3 kernel_w: 1 stride_h: 3 stride_w: 2", (6, 4, 3, 1)),
        ("num_output: 6 kernel_size: 5 stride: 3 pad: 2 dilation: 1", (6, 4, 5, 5)),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_opencv(
    agree: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    parameter: str,
    weight_shape: tuple[int, ...],
    bias: bool,
) -> None:
    blobs = [rng.normal(size=weight_shape)] + [rng.normal(size=weight_shape[0])] * bias
    text = parameter + ("" if bias else " bias_term: false")
    agree(layer(text), images(4, 11, 14), {"conv": blobs})


def test_repeated_sizes_give_height_then_width(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    repeated = """num_output: 5 bias_term: false kernel_size: 3 kernel_size: 2 pad: 1 pad: 0
                  stride: 2 stride: 1 dilation: 1 dilation: 3"""
    found = agree(layer(repeated), images(3, 12, 13), {"conv": [rng.normal(size=(5, 3, 3, 2))]})
    assert found["conv"].shape == (7, 5, 6, 10)


@pytest.mark.parametrize(("outputs", "stated"), [(4, ""), (8, ""), (4, "group: 2")])
@pytest.mark.parametrize(
    "alias", ["DepthwiseConvolution", "ConvolutionDepthwise", "DepthwiseConv", "ConvolutionDW"]
)
def test_a_depthwise_alias_has_a_group_for_each_channel(
    run: Run,
    opencv: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    alias: str,
    outputs: int,
    stated: str,
) -> None:
    """OpenCV lacks most of the aliases, so it gets the convolution they stand for."""
    kernels = rng.normal(size=(outputs, 1, 3, 3)), rng.normal(size=outputs)
    x, blobs = images(4, 9, 9), {"conv": list(kernels)}
    text = f"num_output: {outputs} kernel_size: 3 pad: 1"
    found = run(layer(f"{text} {stated}", alias), x, blobs)["conv"]
    expected = opencv(layer(f"{text} group: 4"), x, blobs)["conv"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_legacy_blobs_of_four_axes_are_read_as_what_they_are(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    blobs = [rng.normal(size=(2, 3, 1, 1)), rng.normal(size=(1, 1, 1, 2))]
    agree(layer("num_output: 2 kernel_size: 1"), images(3, 4, 4), {"conv": blobs})


def test_several_bottoms_share_the_weights(
    run: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    text = """layer { name: "conv" type: "Convolution" bottom: "a" bottom: "b" top: "x" top: "y"
                      convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }"""
    a, b = images(3, 4, 4), images(3, 5, 6)
    weight = rng.normal(size=(2, 3, 1, 1)).astype(np.float32)
    found = run(text, {"a": a, "b": b}, {"conv": [weight]})
    for name, x in (("x", a), ("y", b)):
        expected = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x)
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "blobs", "message"),
    [
        ("num_output: 2 kernel_size: 3", [(2, 3, 5, 5), (2,)], "expected shape [2, 3, 3, 3]"),
        ("num_output: 2 kernel_size: 3", [(2, 3, 3, 3), (3,)], "expected shape [2], found [3]"),
        ("num_output: 2 kernel_size: 3", [(2, 3, 3, 3)], "expected 2 weight blobs"),
        ("num_output: 2 kernel_size: 3", [], "no weights for it"),
        ("num_output: 2 kernel_size: 3 group: 2", [], "group is 2"),
        ("kernel_size: 3", [], "num_output is missing"),
        ("num_output: 2", [], "kernel_size is missing"),
        ("num_output: 2 kernel_size: 3 kernel_h: 3", [], "both given"),
        ("num_output: 2 kernel_h: 3", [], "at least 1"),
        ("num_output: 2 kernel_size: 3 stride: 0", [], "at least 1"),
        ("num_output: 2 kernel_size: [1, 2, 3]", [], "3 times"),
        ("num_output: 2 kernel_size: 9", [(2, 3, 9, 9), (2,)], "larger input"),
        ("num_output: 2 kernel_size: 3 axis: 2", [], "axis is 2"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    blobs: list[tuple[int, ...]],
    message: str,
) -> None:
    arrays = [np.zeros(shape) for shape in blobs]
    (found,) = problems(layer(parameter), images(3, 8, 8), {"conv": arrays})
    assert message in found


def test_all_wrong_blobs_of_a_layer_are_named(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    arrays = [np.zeros((2, 3, 3, 3)), np.zeros(5)]
    found = problems(layer("num_output: 2 kernel_size: 1"), images(3, 8, 8), {"conv": arrays})
    assert len(found) == 2


def test_weights_that_are_nan_are_damage(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    blobs = [np.zeros((2, 3, 1, 1)), np.array([0, np.nan])]
    (found,) = problems(layer("num_output: 2 kernel_size: 1"), images(3, 8, 8), {"conv": blobs})
    assert "weight blob 1 holds numbers that are not finite" in found
