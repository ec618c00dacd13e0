"""Scale and Bias against OpenCV and, for other axes than the channels, by NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str, bottoms: str = 'bottom: "data"') -> str:
    field = {"Scale": "scale_param", "Bias": "bias_param"}[layer_type]
    return f"""layer {{ name: "affine" type: "{layer_type}" {bottoms} top: "affine"
                        {field} {{ {parameter} }} }}"""


TWO = 'bottom: "data" bottom: "other"'


@pytest.mark.parametrize("bias", [True, False])
def test_scale_of_channels_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator, bias: bool
) -> None:
    blobs = [rng.normal(size=5) for _ in range(1 + bias)]
    text = layer("Scale", "bias_term: true" if bias else "")
    agree(text, images(5, 3, 4), {"affine": blobs})


def test_bias_adds_to_the_channels(
    run: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    """OpenCV has no Bias for Caffe files."""
    x, bias = images(5, 3, 4), rng.normal(size=5).astype(np.float32)
    found = run(layer("Bias", ""), x, {"affine": [bias]})["affine"]
    np.testing.assert_allclose(found, x + bias.reshape(5, 1, 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("parameter", "shape", "spread"),
    [
        ("axis: 1 num_axes: 2", (5, 3), (5, 3, 1)),
        ("axis: 1 num_axes: -1", (5, 3, 4), (5, 3, 4)),
        ("axis: 2", (3,), (3, 1)),
        ("axis: -1", (4,), (4,)),
        ("axis: -2 num_axes: 2", (3, 4), (3, 4)),
        ("num_axes: 0", (), ()),
    ],
)
def test_weights_span_the_stated_axes(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    parameter: str,
    shape: tuple[int, ...],
    spread: tuple[int, ...],
) -> None:
    x = images(5, 3, 4)
    scale, bias = (np.float32(rng.normal(size=shape)) for _ in range(2))
    scaled = run(layer("Scale", f"{parameter} bias_term: true"), x, {"affine": [scale, bias]})
    expected = x * np.reshape(scale, spread) + np.reshape(bias, spread)
    np.testing.assert_allclose(scaled["affine"], expected, rtol=1e-5, atol=1e-6)
    shifted = run(layer("Bias", parameter), x, {"affine": [bias]})
    np.testing.assert_allclose(shifted["affine"], x + np.reshape(bias, spread), rtol=1e-6)


@pytest.mark.parametrize(
    ("axis", "shape", "spread"),
    [
        (0, (5,), (7, 5, 1, 1)),
        (0, (5, 3, 4), (7, 5, 3, 4)),
        (0, (), (7, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("layer_type", ["Scale", "Bias"])
def test_a_second_bottom_replaces_the_weights(
    run: Run,
    images: Callable[..., F32],
    axis: int,
    shape: tuple[int, ...],
    spread: tuple[int, ...],
    layer_type: str,
) -> None:
    x, other = images(5, 3, 4), images(*shape)
    text = layer(layer_type, f"axis: {axis}", TWO)
    found = run(text, {"data": x, "other": other})["affine"]
    wide = other.reshape(spread)
    np.testing.assert_allclose(found, x * wide if layer_type == "Scale" else x + wide, rtol=1e-6)


def test_a_second_bottom_has_no_batch_behind_axis_0(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = layer("Scale", "axis: 1", TWO)
    (found,) = problems(text, {"data": images(5, 3, 4), "other": images(5)})
    assert "expected a second bottom of shape [5, 3]" in found
    assert "found [batch, 5]" in found


@pytest.mark.parametrize(
    ("layer_type", "parameter", "shapes", "message"),
    [
        ("Scale", "", [(4,)], "expected shape [5], found [4]"),
        ("Scale", "bias_term: true", [(5,)], "expected 2 weight blobs"),
        ("Scale", "axis: 0", [(7,)], "span the batch"),
        ("Scale", "axis: 3 num_axes: 2", [(4,)], "reach past"),
        ("Bias", "axis: 4", [(4,)], "axis is 4"),
        ("Bias", "", [(5, 1)], "expected shape [5], found [5, 1]"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    layer_type: str,
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"affine": [np.ones(shape) for shape in shapes]}
    (found,) = problems(layer(layer_type, parameter), images(5, 3, 4), blobs)
    assert message in found
