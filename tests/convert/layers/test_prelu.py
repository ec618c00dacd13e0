"""PReLU against OpenCV or its formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "f" type: "{layer_type}" bottom: "data" top: "f" {parameter} }}'


@pytest.mark.parametrize(
    ("parameter", "blob_shape"),
    [("", (3,)), ("prelu_param { channel_shared: true }", (1,))],
)
def test_prelu_agrees_with_opencv(
    agree: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    parameter: str,
    blob_shape: tuple[int, ...],
) -> None:
    agree(layer("PReLU", parameter), images(3, 4, 5), {"f": [rng.normal(size=blob_shape)]})


@pytest.mark.parametrize("blob_shape", [(), (1,), (1, 1, 1, 1)])
def test_a_shared_slope_may_have_any_form_of_one_number(
    run: Run, images: Callable[..., F32], blob_shape: tuple[int, ...]
) -> None:
    x, text = images(3, 4), layer("PReLU", "prelu_param { channel_shared: true }")
    found = run(text, x, {"f": [np.full(blob_shape, 0.25)]})["f"]
    np.testing.assert_allclose(found, np.where(x > 0, x, x / 4))


def test_prelu_with_slopes_for_other_channels_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("PReLU"), images(3, 4, 5), {"f": [np.ones(4)]})
    assert "expected shape [3], found [4]" in found
