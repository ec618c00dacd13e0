"""Normalize against OpenCV and by Caffe's formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(layer_type: str, parameter: str = "") -> str:
    return f'layer {{ name: "norm" type: "{layer_type}" bottom: "data" top: "norm" {parameter} }}'


@pytest.mark.parametrize("across_spatial", [True, False])
@pytest.mark.parametrize("channel_shared", [True, False])
@pytest.mark.parametrize("eps", [1e-10, 0.5])
def test_normalize_adds_eps_below_the_root(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    across_spatial: bool,
    channel_shared: bool,
    eps: float,
) -> None:
    x = images(5, 3, 4)
    scale = rng.uniform(1, 20, size=1 if channel_shared else 5).astype(np.float32)
    parameter = f"""norm_param {{ across_spatial: {str(across_spatial).lower()} eps: {eps}
                                 channel_shared: {str(channel_shared).lower()} }}"""
    found = run(layer("Normalize", parameter), x, {"norm": [scale]})["norm"]
    total = (x.astype(float) ** 2).sum((1, 2, 3) if across_spatial else 1, keepdims=True)
    expected = x / np.sqrt(total + eps) * scale.reshape(-1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("parameter", "scales"),
    [("across_spatial: false channel_shared: false", 5), ("channel_shared: true", 1)],
)
def test_normalize_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], rng: np.random.Generator, parameter: str, scales: int
) -> None:
    """OpenCV takes no scale for each channel where it sums over the image."""
    text = layer("Normalize", f"norm_param {{ {parameter} }}")
    agree(text, images(5, 3, 4), {"norm": [rng.uniform(1, 20, size=scales)]})


def test_a_shared_scale_may_be_a_blob_without_axes(run: Run, images: Callable[..., F32]) -> None:
    x = images(5, 3, 4)
    found = run(layer("Normalize"), x, {"norm": [np.array(3.0)]})["norm"]
    expected = 3 * x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_normalize_of_zeros_is_zero(run: Run) -> None:
    x = np.zeros((7, 5, 3, 4), np.float32)
    parameter = "norm_param { across_spatial: false channel_shared: false }"
    found = run(layer("Normalize", parameter), x, {"norm": [np.ones(5)]})["norm"]
    np.testing.assert_array_equal(found, x)


def test_normalize_with_a_scale_for_other_channels_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = layer("Normalize", "norm_param { channel_shared: false }")
    (found,) = problems(text, images(5, 3, 4), {"norm": [np.ones(4)]})
    assert "expected shape [5], found [4]" in found


@pytest.mark.parametrize("field", ["norm_param", "normalize_bbox_param"])
@pytest.mark.parametrize("across_spatial", [True, False])
def test_normalize_bbox_is_normalize(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    field: str,
    across_spatial: bool,
) -> None:
    x = images(5, 3, 4)
    scale = rng.uniform(1, 20, size=5).astype(np.float32)
    text = f"""layer {{ name: "n" type: "NormalizeBBox" bottom: "data" top: "n" {field} {{
                        across_spatial: {str(across_spatial).lower()} channel_shared: false }} }}"""
    found = run(text, x, {"n": [scale]})["n"]
    total = (x.astype(np.float64) ** 2).sum((1, 2, 3) if across_spatial else 1, keepdims=True)
    expected = x / np.sqrt(total) * scale.reshape(-1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
@pytest.mark.parametrize("across_spatial", [True, False])
def test_normalize_takes_features_without_pixels(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    shape: tuple[int, ...],
    across_spatial: bool,
) -> None:
    """Such as the features of a face after InnerProduct."""
    x = images(*shape)
    scale = rng.uniform(1, 20, size=5).astype(np.float32)
    parameter = f"across_spatial: {str(across_spatial).lower()} channel_shared: false"
    text = layer("Normalize", f"norm_param {{ {parameter} }}")
    found = run(text, x, {"norm": [scale]})["norm"]
    axes = tuple(range(1, x.ndim)) if across_spatial else 1
    unit = x / np.sqrt((x.astype(float) ** 2).sum(axes, keepdims=True))
    expected = unit * scale.reshape(5, *[1] * (x.ndim - 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_normalize_takes_no_volume(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    """Caffe's layer counts at most four dimensions."""
    (found,) = problems(layer("Normalize"), images(5, 2, 3, 4), {"norm": [np.ones(1)]})
    assert "expected a bottom of 2 to 4 dimensions" in found
