"""ArgMax against Caffe's formula: OpenCV reads it differently."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str) -> str:
    field = {"ArgMax": "argmax_param", "Reduction": "reduction_param"}[layer_type]
    return f"""layer {{ name: "few" type: "{layer_type}" bottom: "data" top: "few"
                        {field} {{ {parameter} }} }}"""


def largest(x: F32, axis: int, top_k: int) -> tuple[F32, F32]:
    """Elements and indices sorted by std::greater<pair<element, index>> (argmax_layer.cpp)."""
    flipped = np.flip(x, axis)
    order = np.argsort(-flipped, axis, kind="stable")
    indices = x.shape[axis] - 1 - np.take(order, np.arange(top_k), axis)
    return np.take_along_axis(x, indices, axis), indices.astype(np.float32)


@pytest.fixture
def ties(rng: np.random.Generator) -> F32:
    """Images of few different numbers, so that many are equal."""
    return rng.integers(0, 4, size=(7, 5, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("top_k", [1, 3])
def test_along_an_axis_the_last_of_equal_ones_comes_first(
    run: Run, ties: F32, axis: int, top_k: int
) -> None:
    elements, indices = largest(ties, axis, top_k)
    parameter = f"axis: {axis} top_k: {top_k}"
    found = run(layer("ArgMax", parameter), ties)["few"]
    np.testing.assert_array_equal(found, indices)
    found = run(layer("ArgMax", f"{parameter} out_max_val: true"), ties)["few"]
    np.testing.assert_array_equal(found, elements)


@pytest.mark.parametrize("top_k", [1, 6])
@pytest.mark.parametrize("shape", [(7, 60), (7, 5, 12), (7, 5, 3, 4)])
def test_without_an_axis_the_image_is_one_row(
    run: Run, ties: F32, top_k: int, shape: tuple[int, ...]
) -> None:
    x = ties.reshape(shape)
    elements, indices = largest(ties.reshape(7, 60), 1, top_k)
    rest = (1,) * max(0, len(shape) - 3)
    found = run(layer("ArgMax", f"top_k: {top_k}"), x)["few"]
    np.testing.assert_array_equal(found, indices.reshape(7, 1, top_k, *rest))
    found = run(layer("ArgMax", f"top_k: {top_k} out_max_val: true"), x)["few"]
    both = np.stack([indices, elements], 1)
    np.testing.assert_array_equal(found, both.reshape(7, 2, top_k, *rest))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("top_k: 0", "expected 1 to 60"),
        ("top_k: 6 axis: 1", "expected 1 to 5"),
        ("axis: 0", "keep the batch"),
    ],
)
def test_counts_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]], ties: F32, parameter: str, message: str
) -> None:
    (found,) = problems(layer("ArgMax", parameter), ties)
    assert message in found
