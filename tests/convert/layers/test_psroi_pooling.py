"""PSROIPooling against R-FCN's formula: OpenCV doesn't read it as Caffe does."""

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


def layer(outputs: int, group: int, scale: float) -> str:
    return f"""layer {{ name: "p" type: "PSROIPooling" bottom: "data" bottom: "rois" top: "p"
                        psroi_pooling_param {{ output_dim: {outputs} group_size: {group}
                                               spatial_scale: {scale} }} }}"""


def away(x: F32) -> F32:
    """C's round: halves away from zero."""
    return np.asarray(np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x), np.float32)


def psroi_pooling(data: F32, rois: F32, outputs: int, group: int, scale: float) -> F32:
    """The means of the parts of each region, each part from channels of its own."""
    size, factor = data.shape[2:], np.float32(scale)
    result = np.zeros((len(rois), outputs, group, group), np.float32)
    for index, roi in enumerate(rois):
        corners = away(roi[1:])
        starts = corners[[1, 0]] * factor
        ends = (corners[[3, 2]] + np.float32(1)) * factor
        bins = np.maximum(ends - starts, np.float32(0.1)) / np.float32(group)
        for c, i, j in np.ndindex(outputs, group, group):
            ranges = []
            for axis, place in enumerate((i, j)):
                first = math.floor(np.float32(place) * bins[axis] + starts[axis])
                last = math.ceil(np.float32(place + 1) * bins[axis] + starts[axis])
                ranges.append([min(max(edge, 0), size[axis]) for edge in (first, last)])
            (y1, y2), (x1, x2) = ranges
            channel = (c * group + i) * group + j
            part = data[int(roi[0]), channel, y1:y2, x1:x2]
            if part.size:
                result[index, c, i, j] = part.mean(dtype=np.float64)
    return result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("outputs", "group"), [(2, 3), (1, 7), (4, 1)])
@pytest.mark.parametrize("scale", [SCALE, 1.0, 0.0625])
def test_is_rfcns_formula(
    infer: Run, regions: Regions, batch: int, outputs: int, group: int, scale: float
) -> None:
    inputs = regions(batch, outputs * group**2)
    found = infer(layer(outputs, group, scale), inputs, shapes=SHAPES)["p"]
    expected = psroi_pooling(inputs["data"], inputs["rois"], outputs, group, scale)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_no_regions_give_an_empty_top(infer: Run, regions: Regions) -> None:
    inputs = regions(1, 18)
    inputs["rois"] = inputs["rois"][:0]
    assert infer(layer(2, 3, SCALE), inputs, shapes=SHAPES)["p"].shape == (0, 2, 3, 3)


@pytest.mark.parametrize(
    ("outputs", "group", "message"),
    [(2, 3, "= 18 channels, found 16"), (0, 4, "must be at least 1"), (1, 0, "at least 1")],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    regions: Regions,
    outputs: int,
    group: int,
    message: str,
) -> None:
    (found,) = problems(layer(outputs, group, 1), regions(1, 16))
    assert message in found
