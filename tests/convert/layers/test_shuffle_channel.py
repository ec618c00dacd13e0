"""ShuffleChannel against OpenCV and the fork's loops."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
Images = Callable[..., F32]
Problems = Callable[..., list[str]]


def layer(parameter: str) -> str:
    return f"""layer {{ name: "new" type: "ShuffleChannel" bottom: "data" top: "new"
                       shuffle_channel_param {{ {parameter} }} }}"""


@pytest.mark.parametrize("group", [1, 2, 3, 4, 12])
def test_channels_are_taken_from_the_groups_in_turn(agree: Run, images: Images, group: int) -> None:
    x = images(12, 3, 4)
    found = agree(layer(f"group: {group}"), x)["new"]
    columns = 12 // group
    for row in range(group):
        for column in range(columns):
            np.testing.assert_array_equal(
                found[:, column * group + row], x[:, row * columns + column]
            )


@pytest.mark.parametrize(("parameter", "message"), [("group: 5", "12 channels"), ("group: 0", "0")])
def test_groups_that_do_not_fit_are_explained(
    problems: Problems, images: Images, parameter: str, message: str
) -> None:
    (found,) = problems(layer(parameter), images(12, 3, 4))
    assert message in found
    assert "groups of equal size" in found
