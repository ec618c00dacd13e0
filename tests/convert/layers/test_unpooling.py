"""Unpooling and Upsample with a mask against the forks' loops: OpenCV reads neither."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def pooled_and_back(back: str, pool: str = "kernel_size: 2 stride: 2") -> str:
    return f"""layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"
                       pooling_param {{ {pool} }} }}
               layer {{ name: "half" type: "Power" bottom: "pool" top: "half"
                       power_param {{ scale: 0.5 shift: 1 }} }}
               layer {{ name: "new" bottom: "half" bottom: "mask" top: "new" {back} }}"""


def placed(x: F32, height: int, width: int) -> F32:
    """Half of each maximum of 2 × 2 pixels, and 1, at its index in planes of another size."""
    y = np.zeros((*x.shape[:2], height * width), np.float32)
    for row in range(0, x.shape[2], 2):
        for column in range(0, x.shape[3], 2):
            window = x[:, :, row : row + 2, column : column + 2]
            for image, channel in np.ndindex(*x.shape[:2]):
                down, across = divmod(int(window[image, channel].argmax()), window.shape[3])
                place = (row + down) * x.shape[3] + column + across
                y[image, channel, place] = window[image, channel].max() / 2 + 1
    return y.reshape(*x.shape[:2], height, width)


@pytest.mark.parametrize(
    ("back", "sides", "size"),
    [
        ('type: "Upsample" upsample_param { scale: 2 }', (6, 8), (6, 8)),
        ('type: "Upsample" upsample_param { upsample_h: 7 upsample_w: 9 }', (7, 9), (7, 9)),
        (
            'type: "Upsample" upsample_param { scale: 2 pad_out_h: true pad_out_w: true }',
            (7, 9),
            (7, 9),
        ),
        # Caffe keeps the index, though a row of the result has other pixels than one of the mask.
        ('type: "Upsample" upsample_param { upsample_h: 6 upsample_w: 10 }', (6, 8), (6, 10)),
        ('type: "Unpooling" unpooling_param { kernel_size: 2 stride: 2 }', (6, 8), (6, 8)),
        (
            'type: "Unpooling" unpooling_param { kernel_size: 2 stride: 2 unpool_size: 12 }',
            (6, 8),
            (12, 12),
        ),
    ],
)
def test_each_pixel_goes_back_to_its_place(
    run: Run, images: Images, back: str, sides: tuple[int, int], size: tuple[int, int]
) -> None:
    x = images(3, *sides)
    found = run(pooled_and_back(back), x)["new"]
    np.testing.assert_allclose(found, placed(x, *size), rtol=1e-6)


UPSAMPLE = 'type: "Upsample" upsample_param { scale: 2 }'


@pytest.mark.parametrize(
    ("back", "pool", "message"),
    [
        (UPSAMPLE, "kernel_size: 3 stride: 2", "may contain one pixel twice"),
        (
            'type: "Upsample" upsample_param { upsample_h: 4 upsample_w: 4 }',
            "kernel_size: 2 stride: 2",
            "4 by 4 pixels are too few for the mask of 6 by 8",
        ),
        (
            'type: "Unpooling" unpooling_param { unpool: AVE kernel_size: 2 }',
            "kernel_size: 2 stride: 2",
            "only unpool MAX",
        ),
    ],
)
def test_pixels_that_cannot_be_unpooled_are_explained(
    problems: Problems, images: Images, back: str, pool: str, message: str
) -> None:
    (found,) = problems(pooled_and_back(back, pool), images(3, 6, 8))
    assert message in found


def test_a_mask_from_another_layer_is_refused(problems: Problems, images: Images) -> None:
    text = f'layer {{ name: "new" bottom: "data" bottom: "mask" top: "new" {UPSAMPLE} }}'
    (found,) = problems(text, {"data": images(3, 4, 4), "mask": images(3, 4, 4)})
    assert "must be the mask of a Pooling layer" in found


def test_a_mask_of_another_shape_is_explained(problems: Problems, images: Images) -> None:
    text = pooled_and_back(UPSAMPLE).replace('bottom: "half"', 'bottom: "data"')
    (found,) = problems(text, images(3, 6, 8))
    assert "the mask has the shape [batch, 3, 3, 4]" in found
