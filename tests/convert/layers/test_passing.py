"""Layers that move no data: Input, Dropout, Split, Silence."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def test_dropout_is_the_bottom_itself(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "drop" type: "Dropout" bottom: "data" top: "drop"
                      dropout_param { dropout_ratio: 0.9 } }"""
    x = images(2, 3, 3)
    np.testing.assert_array_equal(agree(text, x)["drop"], x)


def test_dropout_of_forks_that_scale_in_testing(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "drop" type: "Dropout" bottom: "data" top: "drop"
                      dropout_param { dropout_ratio: 0.75 scale_train: false } }"""
    x = images(2, 3, 3)
    np.testing.assert_allclose(agree(text, x)["drop"], x / 4)


def test_every_top_of_a_split_is_its_bottom(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }
              layer { name: "c" type: "ReLU" bottom: "a" top: "c" }
              layer { name: "d" type: "AbsVal" bottom: "b" top: "d" }"""
    x = images(2, 3, 3)
    found = agree(text, x)
    np.testing.assert_array_equal(found["c"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["d"], np.abs(x))


def test_an_unconsumed_top_keeps_its_own_name(run: Run, images: Callable[..., F32]) -> None:
    x = images(2, 3, 3)
    found = run('layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }', x)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], x)


def test_silence_swallows_its_bottoms(run: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }
              layer { name: "hush" type: "Silence" bottom: "b" }"""
    assert list(run(text, images(2, 3, 3))) == ["a"]


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
