"""Convolutions over one axis or three against OpenCV and by Caffe's formula."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from geometry.arrays import F32

Run = Callable[..., dict[str, F32]]


def layer(parameter: str, layer_type: str = "Convolution", field: str = "convolution_param") -> str:
    return f"""layer {{ name: "c" type: "{layer_type}" bottom: "data" top: "c"
                        {field} {{ {parameter} }} }}"""


def convolution(
    x: F32,
    weight: F32,
    bias: F32,
    stride: Sequence[int],
    pad: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> F32:
    """Σ weight · window + bias per group, over any number of axes."""
    axes = tuple(range(2, x.ndim))
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)]).astype(np.float64)
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axes)
    every = [slice(None), slice(None), *(slice(None, None, s) for s in stride)]
    windows = windows[(*every, *(slice(None, None, d) for d in dilation))]
    outputs, inputs = len(weight) // groups, x.shape[1] // groups
    places = "xyz"[: len(axes)]
    taps = "uvw"[: len(axes)]
    parts = [
        np.einsum(
            f"nc{places}{taps},oc{taps}->no{places}",
            windows[:, group * inputs : (group + 1) * inputs],
            weight[group * outputs : (group + 1) * outputs].astype(np.float64),
        )
        for group in range(groups)
    ]
    shift = bias.reshape(1, -1, *(1,) * len(axes))
    return np.asarray(np.concatenate(parts, axis=1) + shift, np.float32)


@pytest.mark.parametrize(
    ("shape", "kernel", "parameter", "stride", "pad", "dilation", "groups"),
    [
        ((4, 6, 7, 8), (3, 3, 3), "kernel_size: 3 pad: 1", (1,) * 3, (1,) * 3, (1,) * 3, 1),
        (
            (4, 6, 7, 8),
            (2, 3, 1),
            "kernel_size: 2 kernel_size: 3 kernel_size: 1 stride: 1 stride: 2 stride: 3 "
            "pad: 1 pad: 0 pad: 2 group: 2",
            (1, 2, 3),
            (1, 0, 2),
            (1,) * 3,
            2,
        ),
        ((4, 9, 9, 9), (3, 3, 3), "kernel_size: 3 dilation: 2", (1,) * 3, (0,) * 3, (2,) * 3, 1),
        ((4, 20), (5,), "kernel_size: 5 stride: 2 pad: 2", (2,), (2,), (1,), 1),
    ],
)
def test_a_convolution_over_one_or_three_axes_is_caffes_formula(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    parameter: str,
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> None:
    x = images(*shape)
    weight = rng.normal(size=(6, shape[0] // groups, *kernel)).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    found = run(layer(f"num_output: 6 {parameter}"), x, {"c": [weight, bias]})["c"]
    expected = convolution(x, weight, bias, stride, pad, dilation, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("field", ["convolution3d_param", "convolution_param"])
@pytest.mark.parametrize("bias_shape", [(5,), (1, 1, 1, 1, 5)])
def test_c3d_names_the_axis_of_time_apart(
    run: Run,
    images: Callable[..., F32],
    rng: np.random.Generator,
    field: str,
    bias_shape: tuple[int, ...],
) -> None:
    x = images(2, 5, 6, 7)
    weight = rng.normal(size=(5, 2, 2, 3, 3)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    text = layer(
        "num_output: 5 kernel_size: 3 stride: 2 pad: 1 kernel_depth: 2 temporal_stride: 3 "
        "temporal_pad: 1",
        "Convolution3D",
        field,
    )
    found = run(text, x, {"c": [weight, bias.reshape(bias_shape)]})["c"]
    expected = convolution(x, weight, bias, (3, 2, 2), (1, 1, 1), (1, 1, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_without_a_bias(run: Run, images: Callable[..., F32], rng: np.random.Generator) -> None:
    x, weight = images(2, 5, 6, 7), rng.normal(size=(3, 2, 2, 2, 2)).astype(np.float32)
    found = run(layer("num_output: 3 kernel_size: 2 bias_term: false"), x, {"c": [weight]})["c"]
    expected = convolution(x, weight, np.zeros(3, np.float32), (1,) * 3, (0,) * 3, (1,) * 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("parameter", "shape", "message"),
    [
        ("num_output: 3 kernel_h: 2 kernel_w: 2", (2, 5, 5, 5), "need 2 spatial axes, found 3"),
        ("num_output: 3 kernel_size: 2 kernel_size: 2", (2, 5, 5, 5), "once or 3 times"),
        ("num_output: 3", (2, 5, 5, 5), "kernel_size is missing"),
        ("kernel_size: 2", (2, 5, 5, 5), "num_output is missing"),
        ("num_output: 3 kernel_size: 9", (2, 5, 5, 5), "use a larger input size"),
        ("num_output: 3 kernel_size: 2 group: 2", (3, 5, 5, 5), "group is 2"),
        ("num_output: 3 kernel_size: 2 axis: 2", (3, 5, 5, 5), "axis is 2"),
        ("num_output: 3 kernel_size: 2", (3,), "expected a bottom of shape"),
    ],
)
def test_what_does_not_fit_is_explained(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    parameter: str,
    shape: tuple[int, ...],
    message: str,
) -> None:
    kernel = 9 if "9" in parameter else 2
    blobs = {"c": [np.ones((3, shape[0], *(kernel,) * (len(shape) - 1))), np.ones(3)]}
    (found,) = problems(layer(parameter), images(*shape), blobs)
    assert message in found


def test_an_image_is_not_a_volume(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = layer("num_output: 3 kernel_size: 2", "Convolution3D", "convolution3d_param")
    (found,) = problems(text, images(2, 5, 5), {"c": [np.ones((3, 2, 1, 2, 2)), np.ones(3)]})
    assert "[batch, channels, time, height, width]" in found
