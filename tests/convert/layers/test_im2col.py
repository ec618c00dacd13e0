"""Im2col by its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from convert.verify.reference.registry import formulas
from geometry.arrays import F32
from tests.convert.layers.conftest import parse

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "columns" type: "Im2col" bottom: "data" top: "columns"
                        convolution_param {{ {parameter} }} }}"""


def test_the_pixels_of_a_window_become_channels(run: Run) -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    found = run(layer("kernel_h: 2 kernel_w: 1"), x)["columns"]
    assert found.shape == (1, 4, 1, 3)
    assert found[0, :, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize(
    "parameter",
    [
        "kernel_size: 3",
        "kernel_size: 3 pad: 1",
        "kernel_size: 2 stride: 2 dilation: 2",
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 2",
    ],
)
def test_it_agrees_with_the_formula(run: Run, images: Callable[..., F32], parameter: str) -> None:
    x = images(4, 6, 7)
    found = run(layer(parameter), x)["columns"]
    (parsed,) = parse(layer(parameter), {"data": x}, {}).layers
    expected = formulas()["Im2col"].compute(parsed, [x.astype(np.float64)])
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("kernel_size: 9", "use a larger input size"),
        ("", "kernel_size is missing"),
        ("kernel_size: 3 axis: 2", "axis must be 1"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(4, 6, 7))
    assert message in found
