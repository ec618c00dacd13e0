"""A ReLU layer with `relu6: true`, which OpenCV ignores, by its formula."""

from collections.abc import Callable

import numpy as np

from geometry.arrays import F32


def relu(parameter: str) -> str:
    return f"""layer {{ name: "f" type: "ReLU" bottom: "data" top: "f"
                        relu_param {{ relu6: true {parameter} }} }}"""


def test_it_clips_at_6(run: Callable[..., dict[str, F32]], images: Callable[..., F32]) -> None:
    x = images(3, 4, 4) * 5
    np.testing.assert_array_equal(run(relu(""), x)["f"], np.clip(x, 0, 6))


def test_a_negative_slope_beside_it_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    assert problems(relu("negative_slope: 0.1"), images(3, 4, 4)) == [
        "relu6 and negative_slope are both given; keep one of them"
    ]
