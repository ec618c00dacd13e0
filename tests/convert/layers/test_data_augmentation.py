"""DataAugmentation of FlowNet 2 outside training: the images minus a mean."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "a" type: "DataAugmentation" bottom: "data" top: "a"
                        augmentation_param {{ {parameter} }} }}"""


@pytest.fixture
def blobs(rng: np.random.Generator) -> list[F32]:
    """After 1,000 batches: the mean of each of 4 x 5 pixels, and that of each channel."""
    shapes = [(1, 3, 4, 5), (1, 3, 1, 1)]
    return [np.full((1, 1, 1, 1), 1000, np.float32)] + [
        rng.normal(size=shape).astype(np.float32) for shape in shapes
    ]


def test_subtracts_the_stored_mean_of_each_channel(
    run: Run, images: Callable[..., F32], blobs: list[F32]
) -> None:
    x = images(3, 6, 7)
    found = run(layer("recompute_mean: 1000 mean_per_pixel: false"), x, {"a": blobs})["a"]
    np.testing.assert_allclose(found, x - blobs[2], rtol=1e-6)


def test_subtracts_the_stored_mean_of_each_pixel(
    run: Run, images: Callable[..., F32], blobs: list[F32]
) -> None:
    x = images(3, 4, 5)
    found = run(layer("recompute_mean: 1000"), x, {"a": blobs})["a"]
    np.testing.assert_allclose(found, x - blobs[1], rtol=1e-6)


def test_for_another_size_the_mean_of_pixels_becomes_one_of_channels(
    run: Run, images: Callable[..., F32], blobs: list[F32]
) -> None:
    x = images(3, 6, 7)
    found = run(layer("recompute_mean: 1000"), x, {"a": blobs})["a"]
    np.testing.assert_allclose(
        found, x - blobs[1].mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-6
    )


def test_subtracts_the_mean_of_the_prototxt(run: Run, images: Callable[..., F32]) -> None:
    x = images(3, 4, 5)
    found = run(layer("mean: [1, 2, 3] mean_per_pixel: false"), x)["a"]
    np.testing.assert_allclose(
        found, x - np.asarray([1, 2, 3], np.float32).reshape(3, 1, 1), rtol=1e-5
    )


@pytest.mark.parametrize(
    "parameter",
    ["", "mean: [1, 2, 3]", "mean: [1, 2] mean_per_pixel: false", "rotate { spread: 1 }"],
)
def test_without_a_mean_it_changes_nothing(
    run: Run, images: Callable[..., F32], parameter: str
) -> None:
    x = images(3, 4, 5)
    np.testing.assert_array_equal(run(layer(parameter), x)["a"], x)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("recompute_mean: 1001", "the stored mean is of 1000 batches, and up to 1001"),
        ("recompute_mean: 1000 crop_width: 4 crop_height: 4", "remove crop_width and crop_height"),
    ],
)
def test_a_mean_that_caffe_would_change_and_a_crop_are_refused(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    blobs: list[F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(layer(parameter), images(3, 4, 5), {"a": blobs})
    assert message in found


def test_a_mean_for_other_channels_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer("mean: [1, 2, 3] mean_per_pixel: false"), images(2, 4, 5))
    assert found == "mean has 3 numbers, but the bottom has 2 channels"
