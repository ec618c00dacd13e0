import random

import pytest

from convert.tensorflow import names
from convert.tensorflow.names import Kernel, Parameter
from training.architecture import networks
from training.architecture.family import Architecture, Extra


def layer(constant: str) -> str | None:
    placed = names.place(constant)
    return placed[0].layer if placed else None


@pytest.mark.parametrize(
    ("scope", "expected", "kernel"),
    [
        ("Conv", "Conv", Kernel.STEM),
        ("Conv_1", "Conv_1", Kernel.POINTWISE),
        ("expanded_conv/depthwise", "conv/depthwise", Kernel.DEPTHWISE),
        ("expanded_conv/project", "conv/project", Kernel.POINTWISE),
        ("expanded_conv_1/expand", "conv_1/expand_", Kernel.POINTWISE),
        ("expanded_conv_13/expand", "conv_13/expand_", Kernel.POINTWISE),
        ("expanded_conv_16/depthwise", "conv_16/depthwise_", Kernel.DEPTHWISE),
        ("expanded_conv_16/project", "conv_16/project_", Kernel.POINTWISE),
        ("layer_19_1_Conv2d_2_1x1_256", "layer_19_1_2", Kernel.POINTWISE),
        ("layer_19_2_Conv2d_2_3x3_s2_512_depthwise", "layer_19_2_2/depthwise", Kernel.DEPTHWISE),
        ("layer_19_2_Conv2d_2_3x3_s2_512", "layer_19_2_2", Kernel.POINTWISE),
        ("layer_19_2_Conv2d_5_3x3_s2_128", "layer_19_2_5", Kernel.POINTWISE),
    ],
)
def test_a_unit_of_tensorflow_has_its_layer(scope: str, expected: str, kernel: Kernel) -> None:
    for weights in ("weights", "depthwise_weights"):
        placed = names.place(f"FeatureExtractor/MobilenetV2/{scope}/{weights}")
        assert placed is not None
        assert (placed[0].layer, placed[0].origin, placed[0].kernel) == (expected, scope, kernel)
        assert placed[1] is Parameter.WEIGHTS


@pytest.mark.parametrize(
    "constant",
    [
        "MobilenetV2/Conv/weights",
        "FeatureExtractor/MobilenetV2/MobilenetV2/Conv/weights",
        "a/b/FeatureExtractor/MobilenetV2/Conv/weights",
        "FeatureExtractor/MobilenetV2/Conv/weights/read",
        "FeatureExtractor/MobilenetV2/Conv/weights/read/_170__cf__173",
        "FeatureExtractor/MobilenetV2/Conv/Conv2D_weights",
    ],
)
def test_outer_scopes_and_the_suffixes_of_freezing_do_not_matter(constant: str) -> None:
    assert layer(constant) == "Conv"


@pytest.mark.parametrize(
    "constant",
    [
        "BoxPredictor_0/BoxEncodingPredictor/weights",
        "FeatureExtractor/MobilenetV2/Logits/Conv2d_1c_1x1/weights",
        "FeatureExtractor/MobilenetV1/Conv/weights",
        "FeatureExtractor/MyMobilenetV2/Conv/weights",
        "FeatureExtractor/MobilenetV2/Conv/weights/Momentum",
        "FeatureExtractor/MobilenetV2/Conv_2/weights",
        "FeatureExtractor/MobilenetV2/expanded_conv_1/weights",
        "FeatureExtractor/MobilenetV2/expanded_conv/expand/weights",
        "FeatureExtractor/MobilenetV2/expanded_conv_100/expand/weights",
        "Postprocessor/Const",
    ],
)
def test_other_constants_have_no_place(constant: str) -> None:
    assert names.place(constant) is None


def test_trained_constants_are_recognised_by_their_scope() -> None:
    assert names.trained("BoxPredictor_0/Box/biases") == "BoxPredictor_0/Box"
    assert names.trained("a/BatchNorm/moving_mean") == "a"
    assert names.trained("Postprocessor/Const") is None


def test_all_layers_and_their_order_are_those_of_the_prototxt() -> None:
    extras = (Extra(256, 512), Extra(128, 256), Extra(128, 256), Extra(64, 128))
    net = networks.deploy(Architecture(extras=extras))
    expected = [
        item.name for item in net.layer if item.type == "Convolution" and "mbox" not in item.name
    ]
    scopes = ["Conv", "expanded_conv/depthwise", "expanded_conv/project", "Conv_1"]
    for number in range(1, 17):
        scopes += [f"expanded_conv_{number}/{part}" for part in ("expand", "depthwise", "project")]
    for number, extra in enumerate(extras, start=2):
        scopes.append(f"layer_19_1_Conv2d_{number}_1x1_{extra.squeeze}")
        scopes.append(f"layer_19_2_Conv2d_{number}_3x3_s2_{extra.width}_depthwise")
        scopes.append(f"layer_19_2_Conv2d_{number}_3x3_s2_{extra.width}")
    found = [layer(f"FeatureExtractor/MobilenetV2/{scope}/weights") or scope for scope in scopes]
    random.Random(0).shuffle(found)
    assert sorted(found, key=names.order) == expected
    assert names.missing(set(found)) == []


def test_no_block_is_incomplete_or_missing() -> None:
    there = {"Conv", "conv/project", "conv_2/expand_", "conv_2/depthwise_"}
    assert names.missing(there) == [
        "conv/depthwise", "conv_1/expand_", "conv_1/depthwise_", "conv_1/project_",
        "conv_2/project_",
    ]  # fmt: skip
