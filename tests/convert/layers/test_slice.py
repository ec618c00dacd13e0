"""Slice and Crop against OpenCV or NumPy."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def sliced(parameter: str, count: int) -> str:
    tops = " ".join(f'top: "part{number}"' for number in range(count))
    return f"""layer {{ name: "cut" type: "Slice" bottom: "data" {tops}
                        slice_param {{ {parameter} }} }}"""


def cropped(parameter: str) -> str:
    return f"""layer {{ name: "cut" type: "Crop" bottom: "data" bottom: "size" top: "cut"
                        crop_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("parameter", "count"),
    [
        ("", 2),
        ("slice_point: 1", 2),
        ("slice_point: 1 slice_point: 4", 3),
        ("axis: 2", 4),
        ("axis: 3 slice_point: 5", 2),
        ("axis: 2", 1),
    ],
)
def test_slice_agrees_with_opencv(
    agree: Run, images: Callable[..., F32], parameter: str, count: int
) -> None:
    """OpenCV finds results by layer names alone, so each part passes through a layer."""
    kept = "".join(
        f'layer {{ name: "{name}" type: "AbsVal" bottom: "part{number}" top: "{name}" }}'
        for number, name in enumerate("abcd"[:count])
    )
    agree(sliced(parameter, count) + kept, images(6, 8, 9))


@pytest.mark.parametrize("parameter", ["slice_dim: 2", "axis: -2"])
def test_the_axis_may_be_given_the_old_way_or_from_the_end(
    run: Run, images: Callable[..., F32], parameter: str
) -> None:
    x = images(3, 4, 5)
    found = run(sliced(f"{parameter} slice_point: 3", 2), x)
    np.testing.assert_array_equal(found["part0"], x[:, :, :3])
    np.testing.assert_array_equal(found["part1"], x[:, :, 3:])


@pytest.mark.parametrize(
    ("parameter", "count", "message"),
    [
        ("slice_point: 2", 3, "expected 2 slice_point values for 3 tops"),
        ("slice_point: 4 slice_point: 2", 3, "must rise"),
        ("slice_point: 6", 2, "must rise"),
        ("", 4, "can't be cut into 4 equal"),
        ("axis: 0", 2, "keep the batch on the first axis"),
    ],
)
def test_cuts_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    count: int,
    message: str,
) -> None:
    (found,) = problems(sliced(parameter, count), images(6, 8, 9))
    assert message in found


@pytest.mark.parametrize(
    ("parameter", "offsets"),
    [
        ("", (0, 0, 0)),
        ("offset: 2", (0, 2, 2)),
        ("offset: 1 offset: 3", (0, 1, 3)),
        ("axis: 1 offset: 2 offset: 0 offset: 1", (2, 0, 1)),
        ("axis: 3 offset: 4", (0, 0, 4)),
        ("axis: -1 offset: 4", (0, 0, 4)),
    ],
)
def test_crop_cuts_to_the_size_of_the_second_bottom(
    agree: Run, images: Callable[..., F32], parameter: str, offsets: tuple[int, int, int]
) -> None:
    x, size = images(5, 8, 9), images(3, 4, 5)
    found = agree(cropped(parameter), {"data": x, "size": size})["cut"]
    axis = 2 if "axis" not in parameter else int(parameter.split()[1]) % 4
    expected = x
    for position in range(axis, 4):
        start = offsets[position - 1]
        keep = np.arange(start, start + size.shape[position])
        expected = np.take(expected, keep, position)
    np.testing.assert_array_equal(found, expected)


def test_crop_to_its_own_size_is_the_bottom(run: Run, images: Callable[..., F32]) -> None:
    x = images(2, 3, 4)
    found = run(cropped("axis: 0"), {"data": x, "size": images(2, 3, 4)})["cut"]
    np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("offset: 5", "reach past the 8 of data"),
        ("offset: 1 offset: 1 offset: 1", "expected 1 or 2 offset values"),
        ("axis: 0 offset: 1", "keep the batch"),
    ],
)
def test_crops_that_do_not_fit_are_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    (found,) = problems(cropped(parameter), {"data": images(5, 8, 9), "size": images(3, 4, 5)})
    assert message in found


def test_crop_needs_as_many_axes_in_both(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(cropped(""), {"data": images(5, 8, 9), "size": images(3)})
    assert "4 and 2 dimensions" in found
