"""Split and Silence, which move no data."""

from collections.abc import Callable

import numpy as np

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def test_every_top_of_a_split_is_its_bottom(agree: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }
              layer { name: "c" type: "ReLU" bottom: "a" top: "c" }
              layer { name: "d" type: "AbsVal" bottom: "b" top: "d" }"""
    x = images(2, 3, 3)
    found = agree(text, x)
    np.testing.assert_array_equal(found["c"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["d"], np.abs(x))


def test_an_unconsumed_top_keeps_its_own_name(run: Run, images: Callable[..., F32]) -> None:
    x = images(2, 3, 3)
    found = run('layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }', x)
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["b"], x)


def test_silence_consumes_its_bottoms(run: Run, images: Callable[..., F32]) -> None:
    text = """layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }
              layer { name: "hush" type: "Silence" bottom: "b" }"""
    assert list(run(text, images(2, 3, 3))) == ["a"]
