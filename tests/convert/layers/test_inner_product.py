"""InnerProduct against OpenCV and, where that lacks a parameter, by NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
                        inner_product_param {{ {parameter} }} }}"""


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5), (60,), (60, 1, 1)])
def test_agrees_with_opencv(
    agree: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    bias: bool,
    shape: tuple[int, ...],
) -> None:
    blobs = [rng.normal(size=(6, 60))] + [rng.normal(size=6)] * bias
    text = layer("num_output: 6" + ("" if bias else " bias_term: false"))
    agree(text, images(*shape), {"fc": blobs})


@pytest.mark.parametrize(("axis", "inputs"), [(1, 60), (2, 20), (-1, 5)])
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_flattens_from_its_axis_on(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    axis: int,
    inputs: int,
    transpose: bool,
    bias: bool,
) -> None:
    """OpenCV transposes no weights."""
    x = images(3, 4, 5)
    weight = rng.normal(size=(inputs, 6) if transpose else (6, inputs)).astype(np.float32)
    offset = rng.normal(size=6).astype(np.float32)
    parameter = f"num_output: 6 axis: {axis} transpose: {str(transpose).lower()}"
    blobs = [weight, offset] if bias else [weight]
    text = layer(f"{parameter} bias_term: {str(bias).lower()}")
    found = run(text, x, {"fc": blobs})["fc"]
    flat = x.reshape(*x.shape[: axis % 4], inputs)
    expected = flat @ (weight if transpose else weight.T) + (offset if bias else 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_legacy_weights_have_four_axes(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    blobs = [rng.normal(size=(1, 1, 6, 12)), rng.normal(size=(1, 1, 1, 6))]
    agree(layer("num_output: 6"), images(3, 2, 2), {"fc": blobs})


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("num_output: 6", [(6, 13), (6,)], "expected shape [6, 12], found [6, 13]"),
        ("num_output: 6 transpose: true", [(6, 12), (6,)], "expected shape [12, 6]"),
        ("num_output: 6 axis: 0", [], "mixes images"),
        ("num_output: 6 axis: 4", [], "axis is 4"),
        ("", [], "num_output is missing"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"fc": [np.ones(shape) for shape in shapes]}
    (found,) = problems(layer(parameter), images(3, 2, 2), blobs)
    assert message in found
