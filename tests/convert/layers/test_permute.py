"""Permute against OpenCV or NumPy, with the batch left open."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str) -> str:
    return f'layer {{ name: "new" type: "{layer_type}" bottom: "data" top: "new" {parameter} }}'


@pytest.mark.parametrize("order", [[0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 3, 2], [0, 1, 2, 3]])
def test_permute_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], order: list[int]
) -> None:
    orders = " ".join(f"order: {axis}" for axis in order)
    agree(layer("Permute", f"permute_param {{ {orders} }}"), images(3, 4, 5))


@pytest.mark.parametrize(
    ("orders", "full"), [("order: 0 order: 3", (0, 3, 1, 2)), ("", (0, 1, 2, 3))]
)
def test_permute_appends_the_axes_left_out(
    run: Run, images: Callable[..., F32], orders: str, full: tuple[int, ...]
) -> None:
    """OpenCV wants every axis named."""
    x = images(3, 4, 5)
    found = run(layer("Permute", f"permute_param {{ {orders} }}"), x)["new"]
    np.testing.assert_array_equal(found, x.transpose(full))


def test_permute_may_move_the_batch(run: Run, images: Callable[..., F32]) -> None:
    x = images(3, 4)
    found = run(layer("Permute", "permute_param { order: 1 order: 0 }"), x)["new"]
    np.testing.assert_array_equal(found, x.transpose(1, 0, 2))


@pytest.mark.parametrize("orders", ["order: 0 order: 0", "order: 4"])
def test_an_order_that_names_no_axes_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], orders: str
) -> None:
    (found,) = problems(layer("Permute", f"permute_param {{ {orders} }}"), images(3, 4, 5))
    assert "each at most once" in found
