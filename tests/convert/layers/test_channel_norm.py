"""ChannelNorm by FlowNet 2's formula."""

from collections.abc import Callable

import numpy as np

from geometry.arrays import F32

LAYER = 'layer { name: "n" type: "ChannelNorm" bottom: "data" top: "n" }'


def test_gives_the_length_of_each_pixel(
    run: Callable[..., dict[str, F32]], images: Callable[..., F32]
) -> None:
    x = images(5, 4, 3)
    found = run(LAYER, x)["n"]
    np.testing.assert_allclose(found, np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-6)


def test_other_shapes_are_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(LAYER, images(5))
    assert found.startswith("expected a bottom of shape [batch, channels, height, width]")
