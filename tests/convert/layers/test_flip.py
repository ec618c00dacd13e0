"""Flip and Reverse against NumPy: OpenCV lacks them."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "Flip" bottom: "data" top: "new"
                       flip_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("parameter", "axes"),
    [
        ("", (3,)),
        ("flip_height: true", (2, 3)),
        ("flip_width: false flip_height: true", (2,)),
        ("flip_width: false", ()),
    ],
)
def test_flip_mirrors_the_image(
    run: Run, images: Images, parameter: str, axes: tuple[int, ...]
) -> None:
    x = images(3, 4, 5)
    np.testing.assert_array_equal(run(layer(parameter), x)["new"], np.flip(x, axes))


def reverse(axis: int) -> str:
    return f"""layer {{ name: "new" type: "Reverse" bottom: "data" top: "new"
                       reverse_param {{ axis: {axis} }} }}"""


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_reverse_reverses_an_axis(run: Run, images: Images, axis: int) -> None:
    x = images(3, 4, 5)
    np.testing.assert_array_equal(run(reverse(axis), x)["new"], np.flip(x, axis))


@pytest.mark.parametrize(("axis", "message"), [(0, "the batch"), (4, "axis is 4")])
def test_an_axis_that_can_not_be_reversed_is_explained(
    problems: Problems, images: Images, axis: int, message: str
) -> None:
    (found,) = problems(reverse(axis), images(3, 4, 5))
    assert message in found


def test_flip_by_an_axis_is_refused(problems: Problems, images: Images) -> None:
    (found,) = problems(layer("axis: 2"), images(3, 4, 5))
    assert "state flip_width and flip_height" in found


def test_reverse_reverses_an_open_sequence(infer: Run, images: Images) -> None:
    x = images(2, 3)
    found = infer(reverse(0), x, shapes={"data": ("time", 2, 3)})["new"]
    np.testing.assert_array_equal(found, x[::-1])
