"""Dropout against OpenCV."""

from collections.abc import Callable

import numpy as np

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def test_dropout_is_the_bottom_itself(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "drop" type: "Dropout" bottom: "data" top: "drop"
                      dropout_param { dropout_ratio: 0.9 } }"""
    x = images(2, 3, 3)
    np.testing.assert_array_equal(agree(text, x)["drop"], x)


def test_dropout_of_forks_that_scale_in_testing(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "drop" type: "Dropout" bottom: "data" top: "drop"
                      dropout_param { dropout_ratio: 0.75 scale_train: false } }"""
    x = images(2, 3, 3)
    np.testing.assert_allclose(agree(text, x)["drop"], x / 4)
