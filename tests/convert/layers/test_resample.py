"""Resample against Pillow where both agree, and by FlowNet 2's kernel where they don't."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str, bottoms: str = "data") -> str:
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    return f"""layer {{ name: "r" type: "Resample" {names} top: "r"
                        resample_param {{ {parameter} }} }}"""


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return x * x * (1.5 * x - 2.5) + 1
    return x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0.0


def kernel(image: F32, height: int, width: int, kind: str, antialias: bool) -> F32:
    """InterpolationKernel of resample_layer.cu, for one plane."""
    size = image.shape
    fy, fx = np.float32(size[0]) / np.float32(height), np.float32(size[1]) / np.float32(width)
    coefficient, reach = (cubic, 4) if kind == "CUBIC" else (triangle, 2)
    antialias = antialias and bool(max(fx, fy) > 1)
    ax, ay = (float(1 / f) if antialias else 1.0 for f in (fx, fy))
    rx, ry = (2 if f < 1 else math.ceil(reach / a) for f, a in ((fx, ax), (fy, ay)))
    made = np.zeros((height, width), np.float32)
    for y_out, x_out in np.ndindex(height, width):
        x_in = x_out * float(fx) + float(fy) / 2 - 0.5
        y_in = y_out * float(fy) + float(fx) / 2 - 0.5
        middle_x, middle_y = (int(math.copysign(math.floor(abs(v) + 0.5), v)) for v in (x_in, y_in))
        total = weights = 0.0
        for y in range(max(0, middle_y - ry), min(image.shape[0], middle_y + ry + 1)):
            for x in range(max(0, middle_x - rx), min(image.shape[1], middle_x + rx + 1)):
                w = ax * coefficient(ax * (x_in - x)) * ay * coefficient(ay * (y_in - y))
                total += w * float(image[y, x])
                weights += w
        made[y_out, x_out] = total / weights if weights else 0
    return made


@pytest.mark.parametrize(("kind", "filtered"), [("LINEAR", Image.Resampling.BILINEAR),
                                                ("CUBIC", Image.Resampling.BICUBIC)])  # fmt: skip
@pytest.mark.parametrize("height", [4, 6, 12, 16, 32])
def test_equal_ratios_are_resized_as_by_pillow(
    run: Run, images: Callable[..., F32], kind: str, filtered: Image.Resampling, height: int
) -> None:
    x, width = images(2, 16, 24), height * 3 // 2
    found = run(layer(f"height: {height} width: {width} type: {kind}"), x)["r"]
    for planes, expected in zip(found, x, strict=True):
        for plane, original in zip(planes, expected, strict=True):
            resized = Image.fromarray(original).resize((width, height), filtered)
            np.testing.assert_allclose(plane, np.asarray(resized), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["LINEAR", "CUBIC"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(9, 5), (5, 9), (7, 3), (14, 18), (3, 25)])
def test_any_size_is_computed_as_by_the_kernel(
    run: Run, images: Callable[..., F32], kind: str, antialias: bool, size: tuple[int, int]
) -> None:
    x = images(1, 7, 9)
    parameter = (
        f"height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()}"
    )
    found = run(layer(parameter), x)["r"]
    for planes, originals in zip(found, x, strict=True):
        expected = kernel(originals[0], *size, kind, antialias)
        np.testing.assert_allclose(planes[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_nearest_repeats_pixels_or_takes_one_of_several(
    run: Run, images: Callable[..., F32], factor: int
) -> None:
    x = images(2, 6, 6)
    larger = run(layer(f"height: {6 * factor} width: {6 * factor} type: NEAREST"), x)["r"]
    np.testing.assert_array_equal(larger, x.repeat(factor, 2).repeat(factor, 3))
    smaller = run(layer(f"height: {6 // factor} width: {6 // factor} type: NEAREST"), x)["r"]
    np.testing.assert_array_equal(smaller, x[:, :, factor // 2 :: factor, factor // 2 :: factor])


def test_a_second_bottom_gives_the_size(run: Run, images: Callable[..., F32]) -> None:
    x, like = images(2, 5, 4), images(3, 10, 8)
    found = run(layer("height: 1 width: 1", "data like"), {"data": x, "like": like})["r"]
    np.testing.assert_array_equal(found, run(layer("height: 10 width: 8"), x)["r"])


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("height: 4", "state height and width, or give a second bottom"),
        ("height: 4 width: 20000", "height and width must be at most 16384"),
        ("height: 4 width: 4 type: AREA", "Caffe can't compute type AREA"),
        ("height: 12 width: 3 type: NEAREST", "Caffe would read pixels outside the image"),
    ],
)
def test_what_caffe_can_not_do_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32], parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(1, 6, 6))
    assert message in found
