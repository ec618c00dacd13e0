"""Eltwise against OpenCV or NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "", bottoms: str = "a b c") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "joined" type: "{layer_type}" {names} top: "joined" {parameter} }}'


def three(images: Callable[..., F32], *shape: int) -> dict[str, F32]:
    return {name: images(*shape) for name in "abc"}


@pytest.mark.parametrize(
    "parameter",
    [
        "",
        "eltwise_param { operation: SUM coeff: 0.5 coeff: -1 coeff: 1 }",
        "eltwise_param { operation: SUM coeff: 2 coeff: 2 coeff: 2 }",
        "eltwise_param { operation: PROD }",
        "eltwise_param { operation: MAX }",
    ],
)
def test_eltwise_agrees_with_opencv(agree: Run, images: Callable[..., F32], parameter: str) -> None:
    agree(layer("Eltwise", parameter), three(images, 3, 4, 5))


def test_the_maximum_ignores_coefficients(run: Run, images: Callable[..., F32]) -> None:
    """As Caffe does."""
    x = three(images, 3, 4, 5)
    text = layer("Eltwise", "eltwise_param { operation: MAX coeff: 2 coeff: -1 coeff: 3 }")
    found = run(text, x)["joined"]
    np.testing.assert_array_equal(found, np.maximum.reduce(list(x.values())))


def test_eltwise_may_name_a_bottom_twice(run: Run, images: Callable[..., F32]) -> None:
    x = images(3, 4, 5)
    found = run(layer("Eltwise", "eltwise_param { operation: PROD }", "data data"), x)["joined"]
    np.testing.assert_allclose(found, x * x)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("coeff: 1 coeff: 2", "expected 3 coeff values, found 2"),
        ("operation: PROD coeff: 1 coeff: 2 coeff: 3", "SUM only"),
    ],
)
def test_coefficients_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    text = layer("Eltwise", f"eltwise_param {{ {parameter} }}")
    (found,) = problems(text, three(images, 3, 4, 5))
    assert message in found


def test_eltwise_of_different_shapes_names_the_bottom(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("Eltwise"), {**three(images, 3, 4, 5), "b": images(3, 1, 5)})
    assert found.startswith("bottom b: expected shape [batch, 3, 4, 5]")
    assert "found [batch, 3, 1, 5]" in found


@pytest.mark.parametrize("operation", ["PROD", "SUM"])
@pytest.mark.parametrize("small", ["a", "b"])
def test_a_pixel_stands_for_a_whole_image(
    agree: Run, images: Callable[..., F32], operation: str, small: str
) -> None:
    """As squeeze-and-excitation networks use it; BVLC's Caffe wants equal shapes."""
    inputs = {"a": images(3, 4, 5), "b": images(3, 4, 5), small: images(3, 1, 1)}
    agree(layer("Eltwise", f"eltwise_param {{ operation: {operation} }}", "a b"), inputs)


def test_coefficients_and_pixels_go_together(run: Run, images: Callable[..., F32]) -> None:
    inputs = {"a": images(3, 1, 1), "b": images(3, 1, 1), "c": images(3, 4, 5)}
    text = layer("Eltwise", "eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }")
    expected = 2 * inputs["a"] - inputs["b"] + inputs["c"] / 2
    np.testing.assert_allclose(run(text, inputs)["joined"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "factor"),
    [("operation: SUM coeff: 0.25", 0.25), ("operation: SUM", 1), ("operation: PROD", 1),
     ("operation: MAX", 1)],
)  # fmt: skip
def test_one_bottom_is_scaled_or_stays_as_it_is(
    run: Callable[..., dict[str, F32]], images: Callable[..., F32], parameter: str, factor: float
) -> None:
    """FlowNet 2 scales its images so."""
    x = images(3, 4, 5)
    text = f"""layer {{ name: "e" type: "Eltwise" bottom: "data" top: "e"
                       eltwise_param {{ {parameter} }} }}"""
    np.testing.assert_array_equal(run(text, x)["e"], x * np.float32(factor))
