"""FlowWarp against OpenCV and by FlowNet 2's formula."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str = "") -> str:
    return f"""layer {{ name: "w" type: "FlowWarp" bottom: "data" bottom: "flow" top: "w"
                        {parameter} }}"""


def flow_warp(image: F32, flow: F32, fill: float = 0) -> F32:
    """Bilinear values at (x, y) + flow where that lies in [0, width) × [0, height)."""
    (count, height, width) = (len(image), *image.shape[2:])
    result = np.full(image.shape, fill, np.float32)
    for n, y, x in np.ndindex(count, height, width):
        across, down = np.float32(x) + flow[n, 0, y, x], np.float32(y) + flow[n, 1, y, x]
        if not (0 <= across < width and 0 <= down < height):
            continue
        left, top = int(across), int(down)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        alpha, beta = across - left, down - top
        result[n, :, y, x] = (
            (1 - alpha) * (1 - beta) * image[n, :, top, left]
            + alpha * (1 - beta) * image[n, :, top, right]
            + (1 - alpha) * beta * image[n, :, bottom, left]
            + alpha * beta * image[n, :, bottom, right]
        )
    return result


@pytest.fixture
def inputs(images: Callable[..., F32]) -> dict[str, F32]:
    """Images, and a flow that leaves them at all sides and stops at edges."""
    flow = 3 * images(2, 6, 5)
    flow[:, :, 0, 0] = 0
    flow[:, 0, 1, 1], flow[:, 1, 1, 1] = 2.75, 0  # between the last centre and the edge
    flow[:, 0, 2, 2], flow[:, 1, 2, 2] = 0, 2.5
    flow[:, 0, 3, 3], flow[:, 1, 3, 3] = 2, 0  # on the edge: outside
    return {"data": images(3, 6, 5), "flow": flow}


def test_agrees_with_opencv(agree: Run, inputs: dict[str, F32]) -> None:
    agree(layer(), inputs)


@pytest.mark.parametrize(
    ("parameter", "fill"),
    [("", 0), ("flow_warp_param { fill_value: NOT_A_NUMBER }", np.nan)],
)
def test_outside_is_a_fill(run: Run, inputs: dict[str, F32], parameter: str, fill: float) -> None:
    found = run(layer(parameter), inputs)["w"]
    expected = flow_warp(inputs["data"], inputs["flow"], fill)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found[0, 0, 3, 3] == fill or np.isnan(fill)


def test_a_flow_to_nowhere_is_outside(run: Run, inputs: dict[str, F32]) -> None:
    inputs["flow"][:, 0, 2, 2] = np.nan
    inputs["flow"][:, 1, 4, 4] = np.inf
    inputs["flow"][:, 0, 5, 1] = -1e30
    found = run(layer(), inputs)["w"]
    expected = flow_warp(inputs["data"], inputs["flow"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_flow_of_another_size_is_explained(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer(), {"data": images(3, 6, 5), "flow": images(2, 6, 6)})
    assert "expected a flow of shape [batch, 2, 6, 5], found [batch, 2, 6, 6]" in found
