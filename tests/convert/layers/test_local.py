"""Local against its formula: OpenCV has no such layer."""

from collections.abc import Callable

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str, layer_type: str = "Local", field: str = "local_param") -> str:
    return f"""layer {{ name: "l" type: "{layer_type}" bottom: "data" top: "l"
                        {field} {{ {parameter} }} }}"""


def local(x: F32, weight: F32, bias: F32, kernel: int, stride: int, pad: int) -> F32:
    """Σ weight · window + bias; weights [outputs, 1, channels · kernel², places]."""
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    (count, rows, columns) = (len(windows), *windows.shape[2:4])
    patches = windows.transpose(0, 1, 4, 5, 2, 3).reshape(count, -1, rows * columns)
    sums = np.einsum("nkp,okp->nop", patches, weight[:, 0].astype(np.float64)) + bias[0]
    return np.asarray(sums.reshape(count, -1, rows, columns), np.float32)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 1, 0), (3, 2, 1), (1, 1, 0)])
@pytest.mark.parametrize(
    ("layer_type", "field"),
    [
        ("Local", "local_param"),
        ("Local", "convolution_param"),
        ("LocallyConnected", "locally_connected_param"),
        ("locally_connected", "locally_connected_param"),
    ],
)
def test_each_position_has_its_own_weights(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    kernel: int,
    stride: int,
    pad: int,
    layer_type: str,
    field: str,
) -> None:
    x = images(2, 6, 5)
    places = ((6 + 2 * pad - kernel) // stride + 1) * ((5 + 2 * pad - kernel) // stride + 1)
    weight = rng.normal(size=(4, 1, 2 * kernel**2, places)).astype(np.float32)
    bias = rng.normal(size=(1, 1, 4, places)).astype(np.float32)
    parameter = f"num_output: 4 kernel_size: {kernel} stride: {stride} pad: {pad}"
    found = run(layer(parameter, layer_type, field), x, {"l": [weight, bias]})["l"]
    expected = local(x, weight, bias[0], kernel, stride, pad)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_a_bias(run: Run, images: Callable[..., F32], rng: np.random.Generator) -> None:
    x, weight = images(2, 4, 4), rng.normal(size=(3, 1, 8, 9)).astype(np.float32)
    text = layer("num_output: 3 kernel_h: 2 kernel_w: 2 bias_term: false")
    found = run(text, x, {"l": [weight]})["l"]
    expected = local(x, weight, np.zeros((1, 3, 9), np.float32), 2, 1, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_dilation_is_refused(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    blobs = {"l": [np.ones((3, 1, 8, 9)), np.ones((1, 1, 3, 9))]}
    text = layer("num_output: 3 kernel_size: 2 dilation: 2", field="convolution_param")
    (found,) = problems(text, images(2, 4, 4), blobs)
    assert "dilation is given" in found


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("kernel_size: 2", "num_output is missing"),
        ("num_output: 3", "must be at least 1"),
        ("num_output: 3 kernel_size: 9", "use a larger input size"),
        ("num_output: 3 kernel_size: 2 group: 3", "group is 3"),
        ("num_output: 3 kernel_size: 3", "weight blob 0: expected shape [3, 1, 18, 4]"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    message: str,
) -> None:
    blobs = {"l": [np.ones((3, 1, 8, 9)), np.ones((1, 1, 3, 4))]}
    (found,) = problems(layer(parameter), images(2, 4, 4), blobs)
    assert message in found
