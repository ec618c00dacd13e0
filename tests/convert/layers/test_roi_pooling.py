"""ROIPooling against Fast R-CNN's formula: OpenCV takes another order of bottoms."""

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


def layer(parameter: str) -> str:
    return f"""layer {{ name: "p" type: "ROIPooling" bottom: "data" bottom: "rois" top: "p"
                        roi_pooling_param {{ {parameter} }} }}"""


def away(x: F32) -> F32:
    """C's round: halves away from zero."""
    return np.asarray(np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x), np.float32)


def roi_pooling(data: F32, rois: F32, pooled: tuple[int, int], scale: float) -> F32:
    """The maxima of the parts of each region, whose corners are rounded; 0 for an empty part."""
    size = data.shape[2:]
    result = np.zeros((len(rois), data.shape[1], *pooled), np.float32)
    for index, roi in enumerate(rois):
        left, top, right, bottom = map(int, away(roi[1:] * np.float32(scale)))
        sides = max(bottom - top + 1, 1), max(right - left + 1, 1)
        bins = [np.float32(side) / np.float32(n) for side, n in zip(sides, pooled, strict=True)]
        for place in np.ndindex(*pooled):
            ranges = []
            for axis, start in enumerate((top, left)):
                first = math.floor(np.float32(place[axis]) * bins[axis]) + start
                last = math.ceil(np.float32(place[axis] + 1) * bins[axis]) + start
                ranges.append([min(max(edge, 0), size[axis]) for edge in (first, last)])
            (y1, y2), (x1, x2) = ranges
            part = data[int(roi[0]), :, y1:y2, x1:x2]
            if part.size:
                result[(index, slice(None), *place)] = part.max((1, 2))
    return result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pooled", [(2, 2), (3, 5), (7, 7)])
@pytest.mark.parametrize("scale", [SCALE, 1.0, 0.0625])
def test_is_fast_rcnns_formula(
    infer: Run, regions: Regions, batch: int, pooled: tuple[int, int], scale: float
) -> None:
    inputs = regions(batch, 3)
    text = layer(f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale}")
    found = infer(text, inputs, shapes=SHAPES)["p"]
    np.testing.assert_array_equal(found, roi_pooling(inputs["data"], inputs["rois"], pooled, scale))


def test_rois_may_have_trailing_axes_of_one_element(infer: Run, regions: Regions) -> None:
    inputs = regions(2, 3)
    text = layer(f"pooled_h: 2 pooled_w: 2 spatial_scale: {SCALE}")
    expected = infer(text, inputs, shapes=SHAPES)["p"]
    inputs["rois"] = inputs["rois"].reshape(-1, 5, 1, 1)
    found = infer(text, inputs, shapes={"rois": ("regions", 5, 1, 1)})["p"]
    np.testing.assert_array_equal(found, expected)


def test_no_regions_give_an_empty_top(infer: Run, regions: Regions) -> None:
    inputs = regions(1, 3)
    inputs["rois"] = inputs["rois"][:0]
    found = infer(layer("pooled_h: 2 pooled_w: 2"), inputs, shapes=SHAPES)["p"]
    assert found.shape == (0, 3, 2, 2)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("pooled_h: 2", "pooled_h and pooled_w must be at least 1"),
        ("pooled_h: 2 pooled_w: 2 pad_ratio: 0.1", "pad_ratio enlarges the regions"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]], regions: Regions, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), regions(1, 3))
    assert message in found


def test_rois_of_another_shape_are_explained(
    problems: Callable[..., list[str]], regions: Regions
) -> None:
    inputs = regions(1, 3)
    inputs["rois"] = inputs["rois"][:, :4]
    (found,) = problems(layer("pooled_h: 2 pooled_w: 2"), inputs)
    assert "expected rois of shape [regions, 5]" in found
