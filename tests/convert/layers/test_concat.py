"""Concat against OpenCV or NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "", bottoms: str = "a b c") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "joined" type: "{layer_type}" {names} top: "joined" {parameter} }}'


def three(images: Callable[..., F32], *shape: int) -> dict[str, F32]:
    return {name: images(*shape) for name in "abc"}


@pytest.mark.parametrize(
    ("parameter", "axis"),
    [
        ("", 1),
        ("concat_param { axis: 2 }", 2),
        ("concat_param { axis: -1 }", 3),
        ("concat_param { concat_dim: 3 }", 3),
    ],
)
def test_concat_joins_the_bottoms_in_order(
    run: Run, images: Callable[..., F32], parameter: str, axis: int
) -> None:
    """OpenCV ignores concat_dim."""
    inputs = {}
    for length, name in enumerate("abc", start=2):
        shape = [2, 3, 4]
        shape[axis - 1] = length
        inputs[name] = images(*shape)
    found = run(layer("Concat", parameter), inputs)["joined"]
    np.testing.assert_array_equal(found, np.concatenate(list(inputs.values()), axis))


def test_concat_of_channels_agrees_with_opencv(agree: Run, images: Callable[..., F32]) -> None:
    agree(layer("Concat"), {"a": images(1, 4, 5), "b": images(2, 4, 5), "c": images(3, 4, 5)})


def test_concat_of_one_bottom_is_the_bottom(run: Run, images: Callable[..., F32]) -> None:
    x = images(2, 3)
    np.testing.assert_array_equal(run(layer("Concat", "", "data"), x)["joined"], x)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "bottom b: expected the shape [batch, 3, 4, 5]"),
        ("concat_param { axis: 0 }", "bottom b"),
        ("concat_param { axis: 4 }", "axis is 4"),
    ],
)
def test_concat_of_different_shapes_names_the_bottom(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    inputs = {**three(images, 3, 4, 5), "b": images(3, 1, 5)}
    (found,) = problems(layer("Concat", parameter), inputs)
    assert message in found


def test_concat_along_the_batch_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("Concat", "concat_param { axis: 0 }"), three(images, 3, 4, 5))
    assert "keep the batch on the first axis" in found
