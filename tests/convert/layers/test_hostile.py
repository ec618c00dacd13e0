"""A layer with any numbers in its prototxt is translated, or the reason is explained."""

import random
import zlib
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from convert.caffe import caffe_pb2
from convert.caffe.network import Layer, Network
from convert.fold import FoldError, fold
from convert.graph import GraphBuilder
from convert.layers.registry import handlers
from convert.translate import TranslationError, build_graph

TRIALS = 150
FLOATS = [0, 1, -1, 0.5, 2, -3, 1e-30, 1e38, -1e38, float("nan"), float("inf")]
LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
}
OWN_FIELDS = {
    "ArgMax": "argmax",
    "CTCGreedyDecoder": "ctc_decoder",
    "LRN": "lrn",
    "LSTM": "recurrent",
    "LocallyConnected": "locally_connected",
    "Lstm": "lstm",
    "Normalize": "norm",
    "RNN": "recurrent",
    "locally_connected": "locally_connected",
}


def parameter_field(layer_type: str) -> str:
    """The field of the layer's own parameters: Pooling's is pooling_param."""
    if "Depthwise" in layer_type or "Conv" in layer_type or layer_type == "Deconvolution":
        return "convolution_param"
    names = [field.name for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields]
    stem = OWN_FIELDS.get(layer_type, layer_type).lower().replace("_", "")
    return next((name for name in names if name.replace("_", "") == f"{stem}param"), "")


def fill(message: Message, rng: random.Random) -> None:
    """Set about half the fields of a message, at any depth, to anything."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.5:
            continue
        many = hasattr(getattr(message, field.name), "append")
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            inner = getattr(message, field.name).add() if many else getattr(message, field.name)
            inner.SetInParent()
            fill(inner, rng)
        elif many:
            numbers = [number(field, rng) for _ in range(rng.randint(0, 4))]
            getattr(message, field.name).extend(numbers)
        else:
            setattr(message, field.name, number(field, rng))


def number(field: Any, rng: random.Random) -> int | float | str:
    if field.enum_type is not None:
        return int(rng.choice([value.number for value in field.enum_type.values]))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "constant"
    if field.cpp_type not in LIMITS:
        return rng.choice(FLOATS)
    low, high = LIMITS[field.cpp_type]
    small = rng.randint(max(low, -5), 5)
    return rng.choice([small, small, small, small, small, low, high, 1_000_000])


def layer_of(layer_type: str, rng: random.Random) -> tuple[Layer, dict[str, tuple[int, ...]]]:
    """A layer of any parameters, bottoms, tops and blobs, and the shapes of its bottoms."""
    parameter = caffe_pb2.LayerParameter(name="layer", type=layer_type)
    field = parameter_field(layer_type)
    if field:
        getattr(parameter, field).SetInParent()
        fill(getattr(parameter, field), rng)

    def shape() -> tuple[int, ...]:
        return (1, *(rng.randint(1, 6) for _ in range(rng.choice([0, 1, 2, 3, 3, 3, 4]))))

    common = shape()
    bottoms = {
        f"bottom{index}": common if rng.random() < 0.7 else shape()
        for index in range(rng.choice([0, 1, 1, 1, 2, 3]))
    }
    blob_shapes = [(), (1,), common[1:2], common[1:], (*common[1:2], 1, 1, 1)]
    blobs = [np.ones(rng.choice(blob_shapes), np.float32) for _ in range(rng.randint(0, 3))]
    tops = tuple(f"top{index}" for index in range(rng.choice([0, 1, 1, 1, 2, 3])))
    return Layer("layer", layer_type, 1, tuple(bottoms), tops, parameter, tuple(blobs)), bottoms


def is_valid(layer: Layer, inputs: dict[str, tuple[int, ...]]) -> bool:
    """Whether the layer was translated, to what ONNX's checker then accepts; else explained."""
    graph = GraphBuilder()
    try:
        build_graph(Network("hostile", inputs, (layer,)), graph)
    except TranslationError:
        return False
    for top in layer.tops:
        graph.output(top, graph.blobs[top])
    try:
        fold(graph)
    except FoldError:
        return False
    if layer.tops:
        onnx.checker.check_model(graph.model("hostile"), full_check=True)
    return True


@pytest.mark.parametrize("layer_type", sorted(set(handlers()) - {"Input", "DetectionOutput"}))
def test_any_parameters_give_a_valid_file_or_an_explanation(layer_type: str) -> None:
    rng = random.Random(zlib.crc32(layer_type.encode()))
    for _ in range(TRIALS):
        is_valid(*layer_of(layer_type, rng))


FEATURES: tuple[int, ...] = (1, 4, 6, 6)
DEPTHWISE: tuple[str, list[tuple[int, ...]], list[tuple[int, ...]]] = (
    "num_output: 4 kernel_size: 3 pad: 1",
    [FEATURES],
    [(4, 1, 3, 3), (4,)],
)
REGIONS: list[tuple[int, ...]] = [FEATURES, (3, 5)]
SEQUENCE: tuple[int, ...] = (5, 1, 3)
SOUND: dict[str, tuple[str, list[tuple[int, ...]], list[tuple[int, ...]]]] = {
    "BN": ("frozen: true", [FEATURES], [(4,), (4,), (4,), (4,)]),
    "BatchNorm": ("", [FEATURES], [(4,), (4,), (1,)]),
    "Bias": ("", [FEATURES], [(4,)]),
    "Convolution": ("num_output: 4 kernel_size: 3 pad: 1", [FEATURES], [(4, 4, 3, 3), (4,)]),
    "Convolution3D": (
        "num_output: 2 kernel_size: 3 kernel_depth: 2",
        [(1, 4, 6, 6, 6)],
        [(2, 4, 2, 3, 3), (2,)],
    ),
    "ConvolutionDW": DEPTHWISE,
    "ConvolutionDepthwise": DEPTHWISE,
    "Correlation": (
        "kernel_size: 1 max_displacement: 2 pad: 2",
        [FEATURES, FEATURES],
        [],
    ),
    "Deconvolution": ("num_output: 4 kernel_size: 2 stride: 2", [FEATURES], [(4, 4, 2, 2), (4,)]),
    "DepthwiseConv": DEPTHWISE,
    "DepthwiseConvolution": DEPTHWISE,
    "InnerProduct": ("num_output: 3", [FEATURES], [(3, 144), (3,)]),
    "Interp": ("height: 7 width: 8", [FEATURES], []),
    "L2Norm": ("across_spatial: true", [FEATURES], []),
    "LSTM": ("num_output: 2", [SEQUENCE], [(8, 3), (8,), (8, 2)]),
    "Local": ("num_output: 2 kernel_size: 3", [FEATURES], [(2, 1, 36, 16), (1, 1, 2, 16)]),
    "Lstm": ("num_output: 2", [(6, 3)], [(8, 3), (8, 2), (8,)]),
    "Normalize": ("across_spatial: false channel_shared: false", [FEATURES], [(4,)]),
    "Pooling": ("kernel_size: 2 stride: 2", [FEATURES], []),
    "PriorBox": ("min_size: 4 aspect_ratio: 2", [FEATURES, (1, 3, 24, 24)], []),
    "Proposal": (
        "ratio: 1 scale: 2",
        [(1, 2, 6, 6), (1, 4, 6, 6), (1, 3)],
        [],
    ),
    "PSROIPooling": ("output_dim: 1 group_size: 2 spatial_scale: 0.5", REGIONS, []),
    "RNN": ("num_output: 2", [SEQUENCE], [(2, 3), (2,), (2, 2), (2, 2), (2,)]),
    "ROIAlign": ("pooled_h: 2 pooled_w: 2", REGIONS, []),
    "ROIPooling": ("pooled_h: 2 pooled_w: 2", REGIONS, []),
    "Scale": ("bias_term: true", [FEATURES], [(4,), (4,)]),
}
"""Parameters, shapes of bottoms and of blobs of types that parameters at random seldom fit."""


@pytest.mark.parametrize("layer_type", SOUND)
def test_one_odd_parameter_of_a_sound_layer_gives_a_valid_file_or_an_explanation(
    layer_type: str,
) -> None:
    rng = random.Random(zlib.crc32(layer_type.encode()))
    text, shapes, blobs = SOUND[layer_type]
    name = parameter_field(layer_type)
    inputs = {f"bottom{index}": shape for index, shape in enumerate(shapes)}
    valid = 0
    for _ in range(TRIALS):
        parameter = caffe_pb2.LayerParameter(name="layer", type=layer_type)
        own = getattr(parameter, name)
        text_format.Parse(text, own)
        plain = [f for f in own.DESCRIPTOR.fields if f.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE]
        field = rng.choice(plain)
        own.ClearField(field.name)
        if hasattr(getattr(own, field.name), "append"):
            numbers = [number(field, rng) for _ in range(rng.randint(0, 3))]
            getattr(own, field.name).extend(numbers)
        else:
            setattr(own, field.name, number(field, rng))
        weights = tuple(np.ones(shape, np.float32) for shape in blobs)
        layer = Layer("layer", layer_type, 1, tuple(inputs), ("top",), parameter, weights)
        valid += is_valid(layer, inputs)
    # Neither side of the test may be empty.
    assert TRIALS / 15 < valid < TRIALS


@pytest.mark.parametrize(
    ("layer_type", "field"),
    [("Pooling", "pooling_param"), ("ArgMax", "argmax_param"), ("Normalize", "norm_param")],
)
def test_the_trial_finds_the_layers_own_parameters(layer_type: str, field: str) -> None:
    assert parameter_field(layer_type) == field
