"""Reduction against Caffe's formulas: OpenCV reads it differently."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str) -> str:
    field = {"ArgMax": "argmax_param", "Reduction": "reduction_param"}[layer_type]
    return f"""layer {{ name: "few" type: "{layer_type}" bottom: "data" top: "few"
                        {field} {{ {parameter} }} }}"""


FORMULAS: dict[str, Callable[..., F32]] = {
    "SUM": np.sum,
    "ASUM": lambda x, axis: np.abs(x).sum(axis),
    "SUMSQ": lambda x, axis: (x**2).sum(axis),
    "MEAN": np.mean,
}


@pytest.mark.parametrize("operation", FORMULAS)
@pytest.mark.parametrize(("axis", "axes"), [(1, (1, 2, 3)), (2, (2, 3)), (-1, (3,))])
@pytest.mark.parametrize("coeff", [1, -0.5])
def test_reduction_takes_all_axes_that_follow(
    run: Run,
    images: Callable[..., F32],
    operation: str,
    axis: int,
    axes: tuple[int, ...],
    coeff: float,
) -> None:
    x = images(2, 3, 4)
    parameter = f"operation: {operation} axis: {axis} coeff: {coeff}"
    found = run(layer("Reduction", parameter), x)["few"]
    expected = coeff * FORMULAS[operation](x, axis=axes)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_reduction_over_the_batch_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("Reduction", ""), images(2, 3, 4))
    assert "mixes images" in found
