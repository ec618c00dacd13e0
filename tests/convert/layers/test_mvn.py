"""MVN against OpenCV and by Caffe's formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str = "") -> str:
    return f'layer {{ name: "m" type: "MVN" bottom: "data" top: "m" mvn_param {{ {parameter} }} }}'


def mvn(x: F32, *, variance: bool = True, across: bool = False, eps: float = 1e-9) -> F32:
    """(x − mean) / (√variance + eps) over each channel or, `across` them, each image."""
    axes = tuple(range(1 if across else 2, x.ndim))
    wide = x.astype(np.float64)
    wide = wide - wide.mean(axes, keepdims=True) if axes else wide * 0
    if variance and axes:
        wide = wide / (np.sqrt((wide**2).mean(axes, keepdims=True)) + eps)
    return np.asarray(wide, np.float32)


@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("across", [True, False])
def test_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], variance: bool, across: bool
) -> None:
    text = f"normalize_variance: {str(variance).lower()} across_channels: {str(across).lower()}"
    agree(layer(text), 2 + 3 * images(3, 5, 6))


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("eps", [1e-9, 0.5])
@pytest.mark.parametrize("shape", [(3, 5, 6), (3, 5), (4,)])
def test_eps_is_added_to_the_root(
    run: Run, images: Callable[..., F32], across: bool, eps: float, shape: tuple[int, ...]
) -> None:
    x = 2 + 3 * images(*shape)
    found = run(layer(f"across_channels: {str(across).lower()} eps: {eps}"), x)["m"]
    np.testing.assert_allclose(found, mvn(x, across=across, eps=eps), rtol=1e-4, atol=1e-5)


def test_a_flat_channel_becomes_0(run: Run) -> None:
    x = np.full((7, 2, 4, 4), 3, np.float32)
    np.testing.assert_array_equal(run(layer(), x)["m"], np.zeros_like(x))


def test_more_axes_than_caffe_supports_are_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer(), images(2, 3, 4, 5))
    assert "2 to 4 dimensions" in found
