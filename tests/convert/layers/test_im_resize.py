"""ImResize against the weights of Catmull and Rom, point by point."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "ImResize" bottom: "data" top: "new"
                       imresize_param {{ {parameter} }} }}"""


def cubic(row: F32, place: float) -> F32:
    """cubic_interpolation of OpenPose's imresize_layer.cu, with indices that stop at the edge."""
    low = int(np.floor(place))
    d = place - low
    v = [row[..., min(max(low + k, 0), row.shape[-1] - 1)] for k in (-1, 0, 1, 2)]
    return np.asarray(
        (-0.5 * v[0] + 1.5 * v[1] - 1.5 * v[2] + 0.5 * v[3]) * d**3
        + (v[0] - 2.5 * v[1] + 2 * v[2] - 0.5 * v[3]) * d**2
        - 0.5 * (v[0] - v[2]) * d
        + v[1]
    )


def resized(x: F32, height: int, width: int) -> F32:
    for axis, size in ((2, height), (3, width)):
        rows = np.moveaxis(x.astype(float), axis, -1)
        ratio = rows.shape[-1] / size
        points = [cubic(rows, (place + 0.5) * ratio - 0.5) for place in range(size)]
        x = np.moveaxis(np.stack(points, -1), -1, axis)
    return x


@pytest.mark.parametrize(
    ("parameter", "size"),
    [
        ("factor: 2", (10, 14)),
        ("factor: 8", (40, 56)),
        ("target_spatial_height: 15 target_spatial_width: 7", (15, 7)),
    ],
)
def test_resizing_is_bicubic(
    run: Run, images: Images, parameter: str, size: tuple[int, int]
) -> None:
    x = images(3, 5, 7)
    found = run(layer(parameter), x)["new"]
    np.testing.assert_allclose(found, resized(x, *size), atol=1e-5)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("", "the prototxt doesn't state the size"),
        ("factor: -1", "factor is -1"),
        ("factor: 1e9", "1e+09"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Problems, images: Images, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(3, 5, 7))
    assert message in found
