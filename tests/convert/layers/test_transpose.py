"""Transpose against NumPy: OpenCV lacks it."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "Transpose" bottom: "data" top: "new"
                       transpose_param {{ {parameter} }} }}"""


@pytest.mark.parametrize("field", ["dim", "order", "axis"])
@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 0, 1, 2), (0, 1, 2, 3)])
def test_axes_come_in_the_order_given(
    infer: Run, images: Images, field: str, order: tuple[int, ...]
) -> None:
    x = images(3, 4, 5)
    found = infer(layer(" ".join(f"{field}: {axis}" for axis in order)), x)["new"]
    np.testing.assert_array_equal(found, x.transpose(order))


@pytest.mark.parametrize(
    "parameter", ["", "dim: 0 dim: 1", "dim: [0, 1, 2, 2]", "dim: [0, 1, 2, 4]"]
)
def test_an_invalid_order_is_explained(problems: Problems, images: Images, parameter: str) -> None:
    (found,) = problems(layer(parameter), images(3, 4, 5))
    assert "each axis from 0 to 3 once" in found
