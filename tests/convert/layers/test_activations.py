"""ELU, Sigmoid, TanH and AbsVal against OpenCV."""

from collections.abc import Callable

import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "f" type: "{layer_type}" bottom: "data" top: "f" {parameter} }}'


@pytest.mark.parametrize(
    ("layer_type", "parameter"),
    [
        ("ELU", ""),
        ("ELU", "elu_param { alpha: 0.3 }"),
        ("Sigmoid", ""),
        ("TanH", ""),
        ("AbsVal", ""),
    ],
)
def test_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], layer_type: str, parameter: str
) -> None:
    agree(layer(layer_type, parameter), 3 * images(3, 4, 5))
