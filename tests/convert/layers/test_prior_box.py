from collections.abc import Callable

import numpy as np
import pytest
from google.protobuf import text_format

from convert.caffe import caffe_pb2
from convert.layers.prior_box import prior_spec
from convert.layers.registry import LayerError
from geometry.arrays import F32

# OpenCV asks for a variance, and clips and flips unless told.
EXPLICIT = "flip: false clip: false variance: 0.1"


def layer(parameters: str) -> str:
    return f"""
    layer {{ name: "priors" type: "PriorBox" bottom: "map" bottom: "image" top: "priors"
             prior_box_param {{ {parameters} }} }}"""


def inputs(map_size: tuple[int, int] = (3, 5)) -> dict[str, F32]:
    return {
        "map": np.zeros((2, 4, *map_size), np.float32),
        "image": np.zeros((2, 3, 64, 96), np.float32),
    }


@pytest.mark.parametrize(
    "parameters",
    [
        f"min_size: 16 {EXPLICIT}",
        f"min_size: 16 min_size: 32 {EXPLICIT} step: 8 offset: 0.5",
        f"min_size: 16 max_size: 40 {EXPLICIT}",
        f"min_size: 8 min_size: 16 max_size: 12 max_size: 40 {EXPLICIT} offset: 0.3",
        f"min_size: 16 aspect_ratio: 2 aspect_ratio: 3 {EXPLICIT}",
        "min_size: 16 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: false variance: 0.2",
        "min_size: 16 min_size: 30 max_size: 20 max_size: 50 aspect_ratio: 2 flip: true "
        "clip: true variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2",
        f"min_size: 16 {EXPLICIT} step_h: 20 step_w: 12 offset: 0",
        f"min_size: 16 {EXPLICIT} step: 100 offset: 1",
    ],
)
def test_priors_are_those_of_opencv(
    run: Callable[..., dict[str, F32]],
    opencv: Callable[..., dict[str, F32]],
    parameters: str,
) -> None:
    found = run(layer(parameters), inputs())["priors"]
    expected = opencv(layer(parameters), inputs())["priors"][:1]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_defaults_are_those_of_caffe(run: Callable[..., dict[str, F32]]) -> None:
    plain = run(layer("min_size: 16 aspect_ratio: 2"), inputs())["priors"]
    stated = run(
        layer("min_size: 16 aspect_ratio: 2 flip: true clip: false variance: 0.1 offset: 0.5"),
        inputs(),
    )["priors"]
    np.testing.assert_array_equal(plain, stated)


def test_img_size_replaces_the_size_of_the_image(run: Callable[..., dict[str, F32]]) -> None:
    by_size = run(layer("min_size: 16 img_size: 32 step: 8"), inputs())["priors"]
    by_sides = run(layer("min_size: 16 img_h: 32 img_w: 32 step: 8"), inputs())["priors"]
    np.testing.assert_array_equal(by_size, by_sides)
    # The first cell's centre is at 4 pixels of 32.
    np.testing.assert_allclose(by_size[0, 0, :4], [-0.125, -0.125, 0.375, 0.375])


@pytest.mark.parametrize(
    ("parameters", "messages"),
    [
        ("", ["has no min_size: give at least one"]),
        ("min_size: 0", ["min_size must be positive"]),
        (
            "min_size: 8 min_size: 9 max_size: 7",
            [
                "needs as many max_size as min_size, or none",
                "each max_size must be greater than its min_size",
            ],
        ),
        ("min_size: 8 variance: 0.1 variance: 0.1", ["needs one variance or four"]),
        ("min_size: 8 variance: -1", ["variance must be positive"]),
        ("min_size: 8 variance: inf", ["variance must be positive"]),
        ("min_size: 8 aspect_ratio: 0", ["aspect_ratio must be positive"]),
        ("min_size: 8 img_size: 0", ["img_size must be positive"]),
        ("min_size: 8 img_h: 5", ["img_h and img_w must both be positive"]),
        (
            "min_size: 8 img_h: 5 img_w: 5 img_size: 3",
            ["give either img_size or img_h and img_w"],
        ),
        ("min_size: 8 step: 0", ["step must be positive"]),
        ("min_size: 8 step: inf", ["step must be positive"]),
        ("min_size: 8 step_h: 8", ["step_h and step_w must both be positive"]),
        ("min_size: 8 step: 8 step_h: 8 step_w: 8", ["give either step or step_h and step_w"]),
        ("min_size: 8 offset: nan", ["offset must be a number"]),
    ],
)
def test_what_caffe_refuses_is_refused_with_all_reasons(
    parameters: str, messages: list[str]
) -> None:
    parameter = text_format.Parse(parameters, caffe_pb2.PriorBoxParameter())
    with pytest.raises(LayerError) as caught:
        prior_spec(parameter)
    assert list(caught.value.messages) == messages


def test_a_feature_map_without_height_and_width_is_refused(
    problems: Callable[..., list[str]],
) -> None:
    flat = {"map": np.zeros((1, 4), np.float32), "image": np.zeros((1, 3, 8, 8), np.float32)}
    assert problems(layer("min_size: 8"), flat) == [
        "needs a feature map and an image with four dimensions as its bottoms"
    ]


@pytest.mark.parametrize("text", ["offset: 1e38", "step: 1e38", "offset: -1e38 step: 1e9"])
def test_priors_that_float32_cannot_hold_are_refused(
    problems: Callable[..., list[str]], text: str
) -> None:
    (message,) = problems(layer(f"min_size: 8 {text}"), inputs())
    assert "too large for float32: check offset, step and sizes" in message
