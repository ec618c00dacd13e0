"""BN against its forks' formulas: OpenCV has no such layer."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]
FOUR = "slope_filler { value: 1 } bias_filler { value: 0 } frozen: true momentum: 0.95"


def layer(parameter: str = "", bottom: str = "data") -> str:
    return f"""layer {{ name: "bn" type: "BN" bottom: "{bottom}" top: "bn"
                        bn_param {{ {parameter} }} }}"""


def bn(x: F32, blobs: Sequence[F32], eps: float) -> F32:
    """(x − mean) / √(variance + eps) · slope + bias; blobs are slope, bias, mean, variance."""
    column = [array.reshape(-1, *(1,) * (x.ndim - 2)).astype(np.float64) for array in blobs]
    result = (x - column[2]) / np.sqrt(column[3] + eps) * column[0] + column[1]
    return np.asarray(result, np.float32)


def statistics(rng: np.random.Generator, channels: int) -> list[F32]:
    arrays = [*rng.normal(size=(3, channels)), rng.uniform(0.5, 3, size=channels)]
    return [array.astype(np.float32) for array in arrays]


@pytest.mark.parametrize("shape", [(5, 6, 4), (5,), (5, 3, 4, 2)])
@pytest.mark.parametrize("as_written", [lambda c: (1, c, 1, 1), lambda c: (c,)])
@pytest.mark.parametrize(
    ("parameter", "eps"),
    [
        (FOUR, 1e-5),
        ("", 1e-5),
        ("eps: 0.25", 0.25),
        ("var_eps: 0.5 moving_average: true", 0.5),
        ("scale_filler { value: 1 } moving_average: true", 1e-10),
    ],
)
def test_four_blobs_are_slope_bias_mean_and_variance(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    shape: tuple[int, ...],
    as_written: Callable[[int], tuple[int, ...]],
    parameter: str,
    eps: float,
) -> None:
    x, arrays = images(*shape), statistics(rng, 5)
    blobs = [array.reshape(as_written(5)) for array in arrays]
    found = run(layer(parameter), x, {"bn": blobs})["bn"]
    np.testing.assert_allclose(found, bn(x, arrays, eps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parameter", ["bn_mode: INFERENCE", "frozen: true", FOUR])
def test_two_blobs_are_scale_and_shift(
    run: Run, images: Callable[..., F32], rng: np.random.Generator, parameter: str
) -> None:
    x = images(3, 4, 4)
    scale, shift = rng.normal(size=(2, 3)).astype(np.float32)
    blobs = {"bn": [scale.reshape(1, 3, 1, 1), shift.reshape(1, 3, 1, 1)]}
    found = run(layer(parameter), x, blobs)["bn"]
    expected = x * scale.reshape(-1, 1, 1) + shift.reshape(-1, 1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_convolution_before_it_absorbs_it(
    to_onnx: Callable[..., onnx.ModelProto], images: Callable[..., F32], rng: np.random.Generator
) -> None:
    text = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                      convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }"""
    blobs = {"conv": [rng.normal(size=(4, 3, 3, 3))], "bn": statistics(rng, 4)}
    model = to_onnx(text + layer(FOUR, "conv"), images(3, 6, 6), blobs)
    assert [node.op_type for node in model.graph.node] == ["Conv"]


@pytest.mark.parametrize(
    ("parameter", "shapes", "message"),
    [
        ("", [(5,), (5,)], "set bn_mode: INFERENCE"),
        ("scale_filler { value: 1 }", [(5,), (5,)], "set bn_mode: INFERENCE"),
        ("bn_mode: LEARN", [(5,)] * 4, "set bn_mode: INFERENCE"),
        ("moving_average: false", [(5,)] * 4, "set moving_average: true"),
        ("", [(5,), (5,), (5,), (4,)], "weight blob 3: expected shape [5], found [4]"),
        ("", [(5,)] * 3, "expected 4 weight blobs"),
        ("axis: 0", [(5,)] * 4, "axis is 0"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    shapes: list[tuple[int, ...]],
    message: str,
) -> None:
    blobs = {"bn": [np.ones(shape) for shape in shapes]}
    (found,) = problems(layer(parameter), images(5, 8, 8), blobs)
    assert message in found


def test_a_negative_variance_is_damage(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    blobs = {"bn": [np.ones(2), np.ones(2), np.ones(2), np.array([1, -1])]}
    (found,) = problems(layer(), images(2, 3, 3), blobs)
    assert "damaged" in found
