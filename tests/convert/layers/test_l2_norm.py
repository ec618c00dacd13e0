"""L2Norm against its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str = "") -> str:
    return f'layer {{ name: "n" type: "L2Norm" bottom: "data" top: "n" {parameter} }}'


def l2_norm(x: F32, axes: tuple[int, ...], eps: float = 0) -> F32:
    """Quotients x / √(Σ x² + eps); a vector of zeros stays."""
    total = (x.astype(np.float64) ** 2).sum(axes, keepdims=True) + eps
    return np.asarray(x / np.sqrt(np.where(total == 0, 1, total)), np.float32)


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1)])
def test_a_vector_gets_length_1(
    run: Run, images: Callable[..., F32], shape: tuple[int, ...]
) -> None:
    x = images(*shape)
    np.testing.assert_allclose(run(layer(), x)["n"], l2_norm(x, (1,)), rtol=1e-5)


def test_a_vector_of_zeros_stays(run: Run) -> None:
    x = np.zeros((7, 4), np.float32)
    np.testing.assert_array_equal(run(layer(), x)["n"], x)


@pytest.mark.parametrize(
    ("parameter", "axes", "eps"),
    [
        ("l2_norm_param { axis: 1 }", (1,), 0),
        ("l2_norm_param { axis: -1 eps: 0.5 }", (3,), 0.5),
        ("l2norm_param { across_spatial: true }", (1, 2, 3), 0),
    ],
)
def test_the_file_states_what_is_summed_in_an_image(
    run: Run, images: Callable[..., F32], parameter: str, axes: tuple[int, ...], eps: float
) -> None:
    x = images(5, 3, 4)
    found = run(layer(parameter), x)["n"]
    np.testing.assert_allclose(found, l2_norm(x, axes, eps), rtol=1e-5)


def test_without_an_axis_forks_sum_an_image_differently(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer(), images(5, 3, 4))
    assert "state axis: 1 or across_spatial: true" in found


def test_a_sum_over_images_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("l2_norm_param { axis: 0 }"), images(5))
    assert "mixes images" in found
