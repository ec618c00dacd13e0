"""Reshape and Flatten, judged by OpenCV or NumPy, with the batch left open."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str) -> str:
    return f'layer {{ name: "new" type: "{layer_type}" bottom: "data" top: "new" {parameter} }}'


@pytest.mark.parametrize(
    ("parameter", "shape"),
    [
        ("shape { dim: 0 dim: -1 dim: 6 }", (7, 20, 6)),
        ("shape { dim: 0 dim: 0 dim: 30 }", (7, 4, 30)),
        ("shape { dim: 0 dim: 120 }", (7, 120)),
        ("shape { dim: 0 dim: -1 }", (7, 120)),
        ("shape { dim: -1 dim: 120 }", (7, 120)),
        ("shape { dim: -1 dim: 4 dim: 1 dim: 30 }", (7, 4, 1, 30)),
        ("shape { dim: 2 dim: -1 } axis: 1", (7, 2, 60)),
        ("shape { dim: 2 dim: 2 } axis: 1 num_axes: 1", (7, 2, 2, 5, 6)),
        ("shape { dim: -1 } axis: 1 num_axes: 2", (7, 20, 6)),
        ("shape { dim: 1 } axis: -1", (7, 4, 5, 6, 1)),
        ("shape { dim: 1 dim: 1 } axis: 2 num_axes: 0", (7, 4, 1, 1, 5, 6)),
        ("shape { dim: 3 dim: -1 } axis: -2", (7, 4, 5, 3, 2)),
    ],
)
def test_reshape_keeps_the_batch_open(
    run: Run, images: Callable[..., F32], parameter: str, shape: tuple[int, ...]
) -> None:
    """An axis of -1 is the place behind the last axis."""
    x = images(4, 5, 6)
    found = run(layer("Reshape", f"reshape_param {{ {parameter} }}"), x)["new"]
    np.testing.assert_array_equal(found, x.reshape(shape))


@pytest.mark.parametrize(
    "parameter",
    [
        "shape { dim: 0 dim: -1 dim: 2 }",
        "shape { dim: 0 dim: 0 dim: -1 }",
        "shape { dim: -1 } axis: 1 num_axes: 2",
    ],
)
def test_reshape_agrees_with_opencv(agree: Run, images: Callable[..., F32], parameter: str) -> None:
    agree(layer("Reshape", f"reshape_param {{ {parameter} }}"), images(4, 5, 6))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("shape { dim: 1 dim: -1 dim: 6 }", "write 0 for the batch axis"),
        ("shape { dim: -1 dim: 6 }", "write 0 for the batch axis"),
        ("shape { dim: 7 dim: 120 }", "write 0 for the batch axis"),
        ("shape { dim: 0 dim: 0 dim: 0 dim: 0 } axis: 1", "no axis there"),
        ("shape { dim: 0 dim: 0 dim: 5 } axis: 1", "can't be reshaped"),
        ("shape { dim: 0 dim: -1 dim: 7 }", "can't be reshaped"),
        ("shape { dim: 0 dim: 119 }", "can't be reshaped"),
        ("shape { dim: 0 dim: -1 dim: -1 }", "more than one dim of -1"),
        ("shape { dim: 0 dim: -2 }", "-2"),
        ("shape { dim: 1 } axis: 3 num_axes: 2", "reach past"),
    ],
)
def test_shapes_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer("Reshape", f"reshape_param {{ {parameter} }}"), images(4, 5, 6))
    assert message in found


@pytest.mark.parametrize(
    ("parameter", "shape"),
    [
        ("", (7, 120)),
        ("axis: 2", (7, 4, 30)),
        ("axis: 1 end_axis: 2", (7, 20, 6)),
        ("axis: -3 end_axis: -2", (7, 20, 6)),
        ("axis: 3", (7, 4, 5, 6)),
    ],
)
def test_flatten_merges_axes(
    agree: Run, images: Callable[..., F32], parameter: str, shape: tuple[int, ...]
) -> None:
    x = images(4, 5, 6)
    found = agree(layer("Flatten", f"flatten_param {{ {parameter} }}"), x)["new"]
    np.testing.assert_array_equal(found, x.reshape(shape))


def test_flatten_may_start_at_the_batch_of_single_numbers(
    run: Run, images: Callable[..., F32]
) -> None:
    x = images(1, 1)
    found = run(layer("Flatten", "flatten_param { axis: 0 }"), x)["new"]
    np.testing.assert_array_equal(found, x.reshape(7))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("axis: 0", "merge the batch"),
        ("axis: 3 end_axis: 1", "comes before"),
        ("end_axis: 4", "end_axis is 4"),
    ],
)
def test_axes_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer("Flatten", f"flatten_param {{ {parameter} }}"), images(4, 5, 6))
    assert message in found
