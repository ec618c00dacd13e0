"""Softmax against OpenCV."""

from collections.abc import Callable

import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "norm" type: "{layer_type}" bottom: "data" top: "norm" {parameter} }}'


@pytest.mark.parametrize(
    ("parameter", "shape"),
    [
        ("", (5,)),
        ("", (5, 3, 4)),
        ("softmax_param { axis: 2 }", (5, 3)),
        ("softmax_param { axis: -1 }", (5, 3, 4)),
    ],
)
def test_softmax_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], parameter: str, shape: tuple[int, ...]
) -> None:
    agree(layer("Softmax", parameter), 5 * images(*shape))


def test_softmax_over_the_batch_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("Softmax", "softmax_param { axis: 0 }"), images(3))
    assert "mix images" in found
