"""ROIAlign against Mask R-CNN's formula: OpenCV has no such layer."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Regions = Callable[[int, int], dict[str, F32]]
SCALE = 0.25
"""Of the features' pixels to the image's."""
SHAPES = {"rois": ("regions", 5)}
"""The rois' dynamic dimension is not a batch."""


def layer(parameter: str, field: str = "roi_align_param") -> str:
    return f"""layer {{ name: "p" type: "ROIAlign" bottom: "data" bottom: "rois" top: "p"
                        {field} {{ {parameter} }} }}"""


def bilinear(image: F32, y: float, x: float) -> F32:
    """The value between four pixels of [channels, height, width]; 0 beyond a pixel outside."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image), np.float32)
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    beta, alpha = y - top, x - left
    upper = (1 - alpha) * image[:, top, left] + alpha * image[:, top, right]
    lower = (1 - alpha) * image[:, bottom, left] + alpha * image[:, bottom, right]
    return np.asarray((1 - beta) * upper + beta * lower, np.float32)


def roi_align(
    data: F32, rois: F32, pooled: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> F32:
    """The mean of ratio² bilinear samples, or enough of them where that is 0, in each part."""
    result = np.zeros((len(rois), data.shape[1], *pooled), np.float32)
    for index, roi in enumerate(rois):
        corners = roi[1:].astype(np.float64) * scale - (0.5 if aligned else 0)
        starts, sides = corners[[1, 0]], corners[[3, 2]] - corners[[1, 0]]
        if not aligned:
            sides = np.maximum(sides, 1)
        bins = sides / pooled
        counts = [ratio or math.ceil(size) for size in bins]
        for place in np.ndindex(*pooled):
            samples = [
                bilinear(
                    data[int(roi[0])],
                    *(
                        starts[axis]
                        + (place[axis] + (sample[axis] + 0.5) / counts[axis]) * bins[axis]
                        for axis in (0, 1)
                    ),
                )
                for sample in np.ndindex(*counts)
            ]
            result[(index, slice(None), *place)] = np.mean(samples, axis=0)
    return result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("pooled", [(2, 2), (3, 5)])
def test_is_mask_rcnns_formula(
    infer: Run, regions: Regions, batch: int, ratio: int, pooled: tuple[int, int]
) -> None:
    inputs = regions(batch, 3)
    text = layer(
        f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {SCALE} "
        f"sampling_ratio: {ratio}"
    )
    found = infer(text, inputs, shapes=SHAPES)["p"]
    expected = roi_align(inputs["data"], inputs["rois"], pooled, SCALE, ratio, False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_aligned_corners_move_by_half_a_pixel(infer: Run, regions: Regions) -> None:
    inputs = regions(2, 3)
    text = layer(f"pooled_h: 3 pooled_w: 2 spatial_scale: {SCALE} sampling_ratio: 2 aligned: true")
    found = infer(text, inputs, shapes=SHAPES)["p"]
    expected = roi_align(inputs["data"], inputs["rois"], (3, 2), SCALE, 2, True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "field", "message"),
    [
        ("pooled_h: 2", "roi_align_param", "pooled_h and pooled_w must be at least 1"),
        ("pooled_h: 2 pooled_w: 2 pad_ratio: 0.1", "roi_align_param", "pad_ratio"),
        ("pooled_h: 2 pooled_w: 2", "roi_pooling_param", "state roi_align_param"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    regions: Regions,
    parameter: str,
    field: str,
    message: str,
) -> None:
    (found,) = problems(layer(parameter, field), regions(1, 3))
    assert message in found
