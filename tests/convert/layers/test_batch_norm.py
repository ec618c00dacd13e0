"""BatchNorm against OpenCV and by Caffe's formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str = "") -> str:
    return f"""layer {{ name: "bn" type: "BatchNorm" bottom: "data" top: "bn"
                        batch_norm_param {{ {parameter} }} }}"""


def statistics(rng: np.random.Generator, channels: int, factor: float) -> list[F32]:
    mean, variance = rng.normal(size=channels), rng.uniform(0.5, 3, size=channels)
    arrays = [mean * factor, variance * factor, np.array([factor])]
    return [array.astype(np.float32) for array in arrays]


@pytest.mark.parametrize("factor", [1, 999.98, 0.25])
@pytest.mark.parametrize("parameter", ["", "eps: 0.01", "use_global_stats: true"])
def test_agrees_with_opencv(
    agree: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    factor: float,
    parameter: str,
) -> None:
    agree(layer(parameter), images(5, 6, 4), {"bn": statistics(rng, 5, factor)})


def test_a_factor_of_zero_leaves_only_eps(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    x, blobs = images(5, 6, 4), statistics(rng, 5, 1)
    blobs[2] = np.zeros(1, np.float32)
    found = agree(layer("eps: 0.25"), x, {"bn": blobs})["bn"]
    np.testing.assert_allclose(found, x / 0.5, rtol=1e-6)


def test_nvidia_caffe_keeps_scale_and_bias_inside(
    run: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    """OpenCV knows three blobs only."""
    x = images(3, 4, 4)
    mean, variance, factor = statistics(rng, 3, 2)
    scale, bias = rng.normal(size=(2, 3)).astype(np.float32)
    blobs = {"bn": [mean, variance, factor, scale, bias]}
    found = run(layer("scale_bias: true eps: 0.001"), x, blobs)["bn"]
    column = [array.reshape(3, 1, 1) for array in (mean / 2, variance / 2, scale, bias)]
    expected = (x - column[0]) / np.sqrt(column[1] + 0.001) * column[2] + column[3]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_rows_of_an_inner_product_have_channels_too(
    run: Run, images: Callable[..., F32], rng: np.random.Generator
) -> None:
    x, blobs = images(5), statistics(rng, 5, 1)
    found = run(layer(), x, {"bn": blobs})["bn"]
    np.testing.assert_allclose(
        found, (x - blobs[0]) / np.sqrt(blobs[1] + 1e-5), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("", [(5,), (4,), (1,)], "weight blob 1: expected shape [5], found [4]"),
        ("", [(5,), (5,)], "expected 3 weight blobs"),
        ("use_global_stats: false", [(5,), (5,), (1,)], "depend on the batch"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"bn": [np.ones(shape) for shape in shapes]}
    (found,) = problems(layer(parameter), images(5, 8, 8), blobs)
    assert message in found


def test_a_negative_variance_is_damage(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    blobs = {"bn": [np.ones(2), np.array([1, -1]), np.ones(1)]}
    (found,) = problems(layer(), images(2, 3, 3), blobs)
    assert "damaged" in found
