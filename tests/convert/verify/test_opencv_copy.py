"""OpenCV reads layers that it misreads correctly from its copy of the network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.report import Status
from convert.verify import verify
from convert.verify.inputs import samples
from convert.verify.numpy_reference import NumpyReference
from convert.verify.opencv import opencv_reference
from convert.verify.opencv_copy import REWRITES, opencv_copy
from geometry.arrays import F32, F64

Blobs = Mapping[str, Sequence[ArrayLike]]
Make = Callable[..., Any]
RANDOM = np.random.default_rng(5)


def normal(*shape: int) -> F64:
    return RANDOM.normal(0, 0.5, shape)


def layer(kind: str, parameter: str = "", tops: str = "x", bottoms: str = "c") -> str:
    names = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    names += " " + " ".join(f'top: "{name}"' for name in tops.split())
    return f'layer {{ name: "x" type: "{kind}" {names} {parameter} }}\n'


def convolution(parameter: str, kind: str = "Convolution") -> str:
    return layer(kind, f"convolution_param {{ {parameter} }}")


def pooling(parameter: str) -> str:
    return layer("Pooling", f"pooling_param {{ kernel_size: 2 stride: 2 {parameter} }}")


POSITIVE = 'layer { name: "abs" type: "AbsVal" bottom: "c" top: "c" }\n'
DEPTHWISE = "num_output: 6 kernel_size: 3 pad: 1 bias_term: false"
CASES: dict[str, tuple[str, Blobs]] = {
    "lrn_k": (layer("LRN", "lrn_param { k: 2 alpha: 0.5 }"), {}),
    "lrn_defaults": (layer("LRN"), {}),
    "lrn_within": (layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"), {}),
    "transposed weights": (
        layer("InnerProduct", "inner_product_param { num_output: 5 transpose: true }"),
        {"x": [normal(6 * 9 * 8, 5), normal(5)]},
    ),
    "coefficients beside a maximum": (
        'layer { name: "n" type: "Power" bottom: "c" top: "n" power_param { scale: -1 } }'
        + layer("Eltwise", "eltwise_param { operation: MAX coeff: 2 coeff: 3 }", bottoms="c n"),
        {},
    ),
    "log": (POSITIVE + layer("Log", "log_param { shift: 1 }"), {}),
    "log_base": (POSITIVE + layer("Log", "log_param { base: 10 scale: 2 shift: 0.5 }"), {}),
    "dilated deconvolution": (
        convolution("num_output: 4 kernel_size: 3 stride: 2 dilation: 2", "Deconvolution"),
        {"x": [normal(6, 4, 3, 3), normal(4)]},
    ),
    "padded 1x1 deconvolution": (
        convolution("num_output: 4 kernel_size: 1 pad: 1", "Deconvolution"),
        {"x": [normal(6, 4, 1, 1), normal(4)]},
    ),
    **{
        name: (convolution(DEPTHWISE, name), {"x": [normal(6, 1, 3, 3)]})
        for name in ("ConvolutionDepthwise", "DepthwiseConvolution", "ConvolutionDW")
    },
    "depthwise, other dilation": (
        convolution(f"{DEPTHWISE} group: 6 dilation: 2"),
        {"x": [normal(6, 1, 3, 3)]},
    ),
    **{
        f"{kind} after a grouped deconvolution": (
            convolution("num_output: 4 kernel_size: 3 group: 2", "Deconvolution")
            + f'layer {{ name: "y" type: "{kind}" bottom: "x" top: "y" }}\n',
            {"x": [normal(6, 2, 3, 3), normal(4)], "y": arrays},
        )
        for kind, arrays in (
            ("Scale", [normal(4)]),
            ("BatchNorm", [normal(4), abs(normal(4)) + 0.2, np.ones(1)]),
        )
    },
    "scale after an upsampling": (
        layer("Upsample") + 'layer { name: "y" type: "Scale" bottom: "x" top: "y" }\n',
        {"y": [normal(6)]},
    ),
    "bias": (layer("Bias"), {"x": [normal(6)]}),
    "bias, scalar": (layer("Bias", "bias_param { num_axes: 0 }"), {"x": [normal()]}),
    "bias, two bottoms": (
        'layer { name: "t" type: "TanH" bottom: "c" top: "t" }\n'
        + layer("Bias", "bias_param { axis: 0 }", bottoms="c t"),
        {},
    ),
    "scale, rows": (
        layer("Scale", "scale_param { axis: -2 bias_term: true }"),
        {"x": [normal(9), normal(9)]},
    ),
    "scale, scalar": (layer("Scale", "scale_param { num_axes: 0 }"), {"x": [normal()]}),
    "shared slope": (
        layer("PReLU", "prelu_param { channel_shared: true }"),
        {"x": [np.float32(0.2)]},
    ),
    "relu6": (layer("ReLU", "relu_param { relu6: true }"), {}),
    "torch_pooling": (pooling("torch_pooling: true"), {}),
    "round_mode": (pooling("round_mode: FLOOR"), {}),
    "engine": (pooling("engine: MKL2017"), {}),
    "filler": (
        convolution('num_output: 2 kernel_size: 1 bias_filler { type: "no such" }'),
        {"x": [normal(2, 6, 1, 1), normal(2)]},
    ),
    "split": (layer("Split", tops="x y"), {}),
    "slice": (layer("Slice", "slice_param { slice_dim: 1 slice_point: 2 }", tops="x y"), {}),
    "slice, one part": (layer("Slice", "slice_param { axis: 2 }"), {}),
    "slice, a part that nothing reads": (
        layer("Slice", tops="x y")
        + 'layer { name: "s" type: "Silence" bottom: "y" }\n'
        + 'layer { name: "r" type: "TanH" bottom: "x" top: "r" }\n',
        {},
    ),
    "concat_dim": (layer("Concat", "concat_param { concat_dim: 2 }", bottoms="c c"), {}),
    "tile": (layer("Tile", "tile_param { axis: 1 tiles: 3 }"), {}),
    "upsample": (layer("Upsample", "upsample_param { scale_h: 2 scale_w: 3 }"), {}),
    "scale_train": (
        layer("Dropout", "dropout_param { scale_train: false dropout_ratio: 0.3 }"),
        {},
    ),
    "swish": (layer("Swish", "swish_param { beta: 0.5 }"), {}),
    "swish, beta 0": (layer("Swish", "swish_param { beta: 0 }"), {}),
    "order": (layer("Permute", "permute_param { order: 0 order: 3 }"), {}),
    "normalize": (layer("Normalize"), {"x": [normal(1)]}),
    "normalize across": (
        layer("Normalize", "norm_param { across_spatial: true channel_shared: false }"),
        {"x": [normal(6)]},
    ),
    "interp": (layer("Interp", "interp_param { shrink_factor: 2 zoom_factor: 3 }"), {}),
}  # fmt: skip


def answers(case: Any) -> tuple[Mapping[str, F32], Mapping[str, F32]]:
    """OpenCV's and NumPy's outputs for noise."""
    built = case.built
    outputs = list(built.network.outputs)
    feed = samples(built)["noise"].feed
    read = replace(built.network, inputs={name: array.shape for name, array in feed.items()})
    opencv = opencv_reference(read, built.shapes, case.weights, outputs, feed)
    assert not opencv.missing
    return opencv.run(feed), NumpyReference.of(read, built.shapes, outputs).run(feed, {})


@pytest.mark.parametrize("name", CASES)
def test_opencv_computes_from_its_copy_what_the_formula_says(make: Make, name: str) -> None:
    layers, blobs = CASES[name]
    opencv, formula = answers(make(layers, blobs))
    assert opencv.keys() == formula.keys()
    for blob, array in formula.items():
        assert opencv[blob].shape == array.shape
        np.testing.assert_allclose(opencv[blob], array, atol=1e-5 * np.abs(array).max(), rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_such_networks_are_verified_by_opencv(make: Make, name: str) -> None:
    layers, blobs = CASES[name]
    case = make(layers, blobs)
    found = verify(case.built, case.weights)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    (reference,) = found.references
    assert reference.startswith("OpenCV")


def test_opencv_multiplies_the_second_bottom_of_axpy(rng: np.random.Generator) -> None:
    shapes = {"a": (1, 4, 1, 1), "x": (1, 4, 3, 2), "y": (1, 4, 3, 2)}
    feed = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    message = caffe_pb2.LayerParameter(name="z", type="Axpy")
    axpy = Layer("z", "Axpy", 1, ("a", "x", "y"), ("z",), message)
    network = Network("t", shapes, (axpy,), ("z",))
    weights = caffe_pb2.NetParameter(name="t").SerializeToString()
    reference = opencv_reference(network, {**shapes, "z": shapes["x"]}, weights, ["z"], feed)
    found = reference.run(feed)["z"]
    np.testing.assert_allclose(found, feed["a"] * feed["x"] + feed["y"], atol=1e-6)


@pytest.mark.parametrize("height", [1, 2, 3, 7])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("parameter", ["", "stride: 2", "dilation: 2", "dilation: 3 stride: 2"])
def test_depthwise_convolutions_of_small_maps_are_read_correctly(
    make: Make, height: int, width: int, parameter: str
) -> None:
    pad = 3 if "dilation" in parameter else 1
    header = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}\n'
    layers = layer(
        "Convolution",
        f"convolution_param {{ num_output: 3 group: 3 kernel_size: 3 pad: {pad} {parameter} }}",
        bottoms="data",
    )
    case = make(layers, {"x": [normal(3, 1, 3, 3), normal(3)]}, alone=True, header=header)
    opencv, formula = answers(case)
    scale = np.abs(formula["x"]).max()
    np.testing.assert_allclose(opencv["x"], formula["x"], atol=1e-5 * scale, rtol=0)


def test_the_copy_of_a_layer_that_opencv_knows_is_the_layer_itself(make: Make) -> None:
    case = make('layer { name: "x" type: "TanH" bottom: "c" top: "x" }')
    copy = opencv_copy(case.built.network, case.built.shapes)
    assert not copy.added
    assert 'type: "TanH"' in copy.prototxt
    assert copy.makers["x"].layer == "x"


def test_each_rewrite_says_what_opencv_misreads() -> None:
    assert all((rewrite.__doc__ or "").startswith("OpenCV") for rewrite in REWRITES.values())
