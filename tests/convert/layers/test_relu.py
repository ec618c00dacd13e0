"""ReLU and ReLU6 against OpenCV or their formula."""

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
        ("ReLU", ""),
        ("ReLU", "relu_param { negative_slope: 0.1 }"),
        ("ReLU", "relu_param { negative_slope: -0.5 }"),
        ("ReLU6", ""),
    ],
)
def test_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], layer_type: str, parameter: str
) -> None:
    agree(layer(layer_type, parameter), 3 * images(3, 4, 5))


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 4, 5)])
def test_any_number_of_axes_will_do(
    run: Run, images: Callable[..., F32], shape: tuple[int, ...]
) -> None:
    x = images(*shape)
    np.testing.assert_array_equal(run(layer("ReLU"), x)["f"], np.maximum(x, 0))
