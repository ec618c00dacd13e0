"""Reshape and Flatten against OpenCV or NumPy, with the batch left open."""

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
        ("shape { dim: 1 dim: 840 }", "write 0 for the batch axis"),
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
        ("axis: 0", "mixes what the batch numbers"),
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


@pytest.mark.parametrize(
    ("parameter", "shape"),
    [
        ("shape { dim: 1 dim: -1 dim: 2 }", (7, 60, 2)),
        ("shape { dim: 1 dim: 2 dim: -1 dim: 0 }", (7, 2, 10, 6)),
        ("shape { dim: -1 dim: 0 dim: 30 }", (7, 4, 30)),
        ("shape { dim: 1 dim: 1 dim: 120 }", (7, 1, 120)),
        ("shape { dim: -1 dim: 120 }", (7, 120)),
        ("shape { dim: 1 } num_axes: 1", (7, 4, 5, 6)),
    ],
)
def test_a_leading_1_stands_for_the_batch_where_the_input_has_batch_1(
    agree: Run, images: Callable[..., F32], parameter: str, shape: tuple[int, ...]
) -> None:
    x = images(4, 5, 6)
    found = agree(layer("Reshape", f"reshape_param {{ {parameter} }}"), x, stated_batch=1)["new"]
    np.testing.assert_array_equal(found, x.reshape(shape))


@pytest.mark.parametrize(
    ("order", "dims", "expected"),
    [
        # The batch is moved: what counts is the order of one image's elements in memory.
        ((1, 0, 2), (1, -1), lambda x: x.reshape(7, 20)),
        ((1, 2, 0), (1, 2, 10), lambda x: x.reshape(7, 2, 10)),
        ((0, 1, 2), (4, 1, 5), lambda x: x.transpose(1, 0, 2)),
        ((0, 1, 2), (2, 1, 2, 5), lambda x: x.reshape(7, 2, 2, 5).transpose(1, 0, 2, 3)),
        ((1, 0, 2), (4, 1, 5), lambda x: x.transpose(1, 0, 2)),
        ((2, 0, 1), (1, 20), lambda x: x.transpose(0, 2, 1).reshape(7, 20)),
    ],
)
def test_the_batch_of_one_image_may_be_anywhere(
    infer: Run,
    images: Callable[..., F32],
    order: tuple[int, ...],
    dims: tuple[int, ...],
    expected: Callable[[F32], F32],
) -> None:
    orders = " ".join(f"order: {axis}" for axis in order)
    sizes = " ".join(f"dim: {size}" for size in dims)
    text = f"""layer {{ name: "p" type: "Permute" bottom: "data" top: "p"
                       permute_param {{ {orders} }} }}
               layer {{ name: "new" type: "Reshape" bottom: "p" top: "new"
                       reshape_param {{ shape {{ {sizes} }} }} }}"""
    x = images(4, 5)
    np.testing.assert_array_equal(infer(text, x, stated_batch=1)["new"], expected(x))


@pytest.mark.parametrize("parameter", ["dim: 4 dim: 30", "dim: -1 dim: 6", "dim: 120"])
def test_a_shape_of_one_image_without_a_place_for_the_batch_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str
) -> None:
    text = layer("Reshape", f"reshape_param {{ shape {{ {parameter} }} }}")
    (found,) = problems(text, images(4, 5, 6), stated_batch=1)
    assert "leaves no axis for the batch" in found


def test_the_batch_may_be_written_as_the_inputs_own_number(
    run: Run, images: Callable[..., F32]
) -> None:
    x = images(4, 5, 6)
    text = layer("Reshape", "reshape_param { shape { dim: 10 dim: -1 dim: 2 } }")
    found = run(text, x, stated_batch=10)["new"]
    np.testing.assert_array_equal(found, x.reshape(7, 60, 2))


def test_a_leading_1_is_not_the_batch_if_the_input_has_another(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = layer("Reshape", "reshape_param { shape { dim: 1 dim: -1 dim: 2 } }")
    (found,) = problems(text, images(4, 5, 6), stated_batch=10)
    assert "mixes what the batch numbers" in found


def test_a_leading_1_of_a_constant_is_a_size(run: Run, images: Callable[..., F32]) -> None:
    """Priors have no batch."""
    text = """layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p"
                      prior_box_param { min_size: 2 } }
              layer { name: "new" type: "Reshape" bottom: "p" top: "new"
                      reshape_param { shape { dim: 1 dim: -1 dim: 4 } } }"""
    assert run(text, images(3, 2, 2), stated_batch=1)["new"].shape == (1, 8, 4)
