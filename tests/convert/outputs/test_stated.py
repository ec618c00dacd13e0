"""Means that look like fractions get a warning."""

import pytest

from convert.outputs.preprocessing import Preprocessing
from convert.outputs.stated import fractions


@pytest.mark.parametrize(
    ("mean", "advice"),
    [((0.4, 0.4, 0.4), "--mean 102,102,102"), ((0.0, 0.5, 1.0), "--mean 0,127.5,255")],
)
def test_means_that_look_like_fractions_get_a_warning(mean: tuple[float, ...], advice: str) -> None:
    [warning] = fractions(Preprocessing.of(3, None, mean, 1.0))
    assert advice in str(warning)


@pytest.mark.parametrize("mean", [(104.0, 117.0, 123.0), (0.0, 0.0, 0.0), (127.5,) * 3])
def test_means_in_pixels_and_no_mean_get_none(mean: tuple[float, ...]) -> None:
    assert fractions(Preprocessing.of(3, None, mean, 1.0)) == []
