"""Power, Exp and Log against OpenCV or their formulas."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "f" type: "{layer_type}" bottom: "data" top: "f" {parameter} }}'


@pytest.mark.parametrize(
    ("layer_type", "parameter"),
    [
        ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
        ("Power", "power_param { power: 2 }"),
        ("Power", "power_param { power: 3 scale: -0.5 shift: 1.5 }"),
        ("Power", "power_param { scale: 2 }"),
        ("Power", "power_param { shift: -1 }"),
    ],
)
def test_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], layer_type: str, parameter: str
) -> None:
    agree(layer(layer_type, parameter), 3 * images(3, 4, 5))


@pytest.mark.parametrize(
    ("parameter", "power"),
    [
        ("power: 0.5 scale: 2 shift: 3", 0.5),
        ("power: 0 scale: 2 shift: 3", 0),
        ("power: -1.5 scale: 2 shift: 3", -1.5),
    ],
)
def test_power_of_a_fraction(
    run: Run, images: Callable[..., F32], parameter: str, power: float
) -> None:
    x = np.abs(images(2, 3, 3))
    found = run(layer("Power", f"power_param {{ {parameter} }}"), x)["f"]
    np.testing.assert_allclose(found, (3 + 2 * x) ** power, rtol=1e-5)


def test_power_without_parameters_is_the_bottom_itself(
    run: Run, images: Callable[..., F32]
) -> None:
    x = images(2, 3, 3)
    np.testing.assert_array_equal(run(layer("Power"), x)["f"], x)


def test_a_scale_of_zero_leaves_the_shift(run: Run, images: Callable[..., F32]) -> None:
    found = run(layer("Power", "power_param { power: 2 scale: 0 shift: 3 }"), images(2, 3, 3))["f"]
    np.testing.assert_array_equal(found, np.full_like(found, 9))


@pytest.mark.parametrize(
    ("parameter", "base", "scale", "shift"),
    [
        ("", np.e, 1, 0),
        ("base: 2", 2, 1, 0),
        ("base: 0.5 scale: -2 shift: 1.5", 0.5, -2, 1.5),
        ("scale: 0.5 shift: -1", np.e, 0.5, -1),
    ],
)
def test_exp_and_log_know_their_base(
    run: Run,
    images: Callable[..., F32],
    parameter: str,
    base: float,
    scale: float,
    shift: float,
) -> None:
    """OpenCV computes Log without its parameters, and Exp as here (above)."""
    x = images(2, 3, 3)
    exp = run(layer("Exp", f"exp_param {{ {parameter} }}"), x)["f"]
    np.testing.assert_allclose(exp, base ** (shift + scale * x), rtol=1e-5)
    argument = (exp.clip(0.1) - np.float32(shift)) / np.float32(scale)
    log = run(layer("Log", f"log_param {{ {parameter} }}"), argument)["f"]
    np.testing.assert_allclose(log, np.log(exp.clip(0.1)) / np.log(base), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer_type", "parameter", "message"),
    [
        ("Exp", "exp_param { base: -2 }", "base is -2"),
        ("Log", "log_param { base: 0 }", "base is 0"),
        ("Log", "log_param { base: 1 }", "base is 1"),
    ],
)
def test_an_impossible_base_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    layer_type: str,
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer(layer_type, parameter), images(2, 3, 3))
    assert message in found
