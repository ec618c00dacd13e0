"""Swish, HardSwish and Mish against OpenCV and by their formulas."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "f" type: "{layer_type}" bottom: "data" top: "f" {parameter} }}'


def swish(x: F32, beta: float = 1) -> F32:
    """Products x / (1 + e^(−beta · x))."""
    return np.asarray(x / (1 + np.exp(-beta * x.astype(np.float64))), np.float32)


def hard_swish(x: F32) -> F32:
    """Products x · min(max(x + 3, 0), 6) / 6."""
    return np.asarray(x * np.clip(x.astype(np.float64) + 3, 0, 6) / 6, np.float32)


def mish(x: F32) -> F32:
    """Products x · tanh(ln(1 + eˣ))."""
    wide = x.astype(np.float64)
    return np.asarray(wide * np.tanh(np.logaddexp(0, wide)), np.float32)


@pytest.mark.parametrize("layer_type", ["Swish", "HardSwish", "Mish"])
def test_agrees_with_opencv(agree: Run, images: Callable[..., F32], layer_type: str) -> None:
    agree(layer(layer_type), 4 * images(3, 4, 5))


@pytest.mark.parametrize(
    ("layer_type", "formula"), [("Swish", swish), ("HardSwish", hard_swish), ("Mish", mish)]
)
@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 4, 5)])
def test_any_number_of_axes_will_do(
    run: Run,
    images: Callable[..., F32],
    layer_type: str,
    formula: Callable[[F32], F32],
    shape: tuple[int, ...],
) -> None:
    x = 4 * images(*shape)
    np.testing.assert_allclose(run(layer(layer_type), x)["f"], formula(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0, 0.5, 1.702, -2])
def test_swish_obeys_its_beta(run: Run, images: Callable[..., F32], beta: float) -> None:
    """OpenCV ignores it."""
    x = 3 * images(2, 3, 4)
    found = run(layer("Swish", f"swish_param {{ beta: {beta} }}"), x)["f"]
    np.testing.assert_allclose(found, swish(x, beta), rtol=1e-5, atol=1e-6)


def test_mish_of_large_numbers_is_finite(run: Run) -> None:
    x = np.tile(np.array([[-200, -50, 50, 200]], np.float32), (7, 1))
    np.testing.assert_allclose(run(layer("Mish"), x)["f"], mish(x), rtol=1e-5, atol=1e-6)
