"""Input."""

from collections.abc import Callable

import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def test_an_input_layer_leaves_the_batch_open(run: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "in" type: "Input" top: "data"
                      input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
              layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }"""
    assert run(text, images(2, 3, 3))["relu"].shape == (7, 2, 3, 3)


@pytest.mark.parametrize("shapes", [0, 2])
def test_an_input_without_its_shape_is_explained(
    problems: Callable[..., list[str]], shapes: int
) -> None:
    shape = "shape { dim: 1 dim: 2 } " * shapes
    text = f"""layer {{ name: "in" type: "Input" top: "a" top: "b" top: "c"
                       input_param {{ {shape} }} }}"""
    (found,) = problems(text, {})
    assert f"found {shapes}" in found
