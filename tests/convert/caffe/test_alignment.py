"""Crop layers of FCN's and HED's Caffe, whose offset follows from the layers before."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from convert.caffe import network
from convert.caffe.network import CaffeError, Network
from convert.conversion import convert_bytes
from convert.options import Options


def old(name: str, kind: str, bottoms: str, parameter: str = "") -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layers {{ name: "{name}" type: {kind} {read} top: "{name}" {parameter} }}\n'


def window(**sizes: int) -> str:
    numbers = " ".join(f"{name}: {number}" for name, number in sizes.items())
    return f"convolution_param {{ num_output: 1 {numbers} }}"


def pool(name: str, bottom: str) -> str:
    return old(name, "POOLING", bottom, "pooling_param { kernel_size: 2 stride: 2 }")


def current(text: str) -> str:
    """The same layers in the current form."""
    for old_type, new_type in (
        ("CONVOLUTION", '"Convolution"'),
        ("DECONVOLUTION", '"Deconvolution"'),
        ("POOLING", '"Pooling"'),
        ("CROP", '"Crop"'),
        ("ELTWISE", '"Eltwise"'),
    ):
        text = text.replace(f"type: {old_type} ", f"type: {new_type} ")
    return text.replace("layers {", "layer {")


INPUT = 'name: "net" input: "data" input_shape { dim: 1 dim: 1 dim: 40 dim: 40 }\n'
PADDED = old("conv", "CONVOLUTION", "data", window(kernel_size=3, pad=35))
SMALL = PADDED + old("cut", "CROP", "conv data")


def hed() -> str:
    """HED's geometry: five stages of convolutions 3x3, each stage cropped to the picture."""
    text, last = "", "data"
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        if stage > 1:
            text += pool(f"pool{stage - 1}", last)
            last = f"pool{stage - 1}"
        for number in range(1, count + 1):
            name = f"conv{stage}_{number}"
            pad = 35 if (stage, number) == (1, 1) else 1
            text += old(name, "CONVOLUTION", last, window(kernel_size=3, pad=pad))
            last = name
        side = f"side{stage}"
        text += old(side, "CONVOLUTION", last, window(kernel_size=1))
        if stage > 1:
            stride = 2 ** (stage - 1)
            up = window(kernel_size=2 * stride, stride=stride)
            text += old(f"up{stage}", "DECONVOLUTION", side, up)
            side = f"up{stage}"
        text += old(f"crop{stage}", "CROP", f"{side} data")
    return text


def fcn16() -> str:
    """FCN-16s: `score` over the picture, and the scores of pool4 cut to those of pool5."""
    text, last = "", "data"
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, count + 1):
            name = f"conv{stage}_{number}"
            pad = 100 if (stage, number) == (1, 1) else 1
            text += old(name, "CONVOLUTION", last, window(kernel_size=3, pad=pad))
            last = name
        text += pool(f"pool{stage}", last)
        last = f"pool{stage}"
    text += old("fc6", "CONVOLUTION", "pool5", window(kernel_size=7))
    text += old("score2", "DECONVOLUTION", "fc6", window(kernel_size=4, stride=2))
    text += old("score4", "CONVOLUTION", "pool4", window(kernel_size=1))
    text += old("crop4", "CROP", "score4 score2")
    text += old("fuse", "ELTWISE", "score2 crop4")
    text += old("big", "DECONVOLUTION", "fuse", window(kernel_size=32, stride=16))
    return text + old("score", "CROP", "big data")


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Network]:
    def read(layers: str) -> Network:
        path = tmp_path / "deploy.prototxt"
        path.write_text(INPUT + layers)
        return network.load(path, None)

    return read


def offsets(read: Network) -> dict[str, list[int]]:
    return {
        layer.name: list(layer.parameter.crop_param.offset)
        for layer in read.layers
        if layer.type == "Crop"
    }


def test_heds_offsets_are_those_that_its_authors_caffe_computes(
    load: Callable[[str], Network],
) -> None:
    """34, 35, 36, 38, 42: as ports of HED to other frameworks state them."""
    expected = [34, 35, 36, 38, 42]
    assert offsets(load(hed())) == {
        f"crop{stage}": [offset] * 2 for stage, offset in enumerate(expected, start=1)
    }


def test_fcns_offsets_are_those_of_its_later_prototxts(load: Callable[[str], Network]) -> None:
    """FCN-16s was published again for BVLC Caffe, with offset 5 and 27."""
    assert offsets(load(fcn16())) == {"crop4": [5, 5], "score": [27, 27]}


def test_height_and_width_have_an_offset_each(load: Callable[[str], Network]) -> None:
    conv = old("conv", "CONVOLUTION", "data", window(kernel_h=3, kernel_w=5, pad_h=4, pad_w=9))
    assert offsets(load(conv + old("cut", "CROP", "conv data"))) == {"cut": [3, 7]}


def test_a_dilated_window_reaches_further(load: Callable[[str], Network]) -> None:
    conv = old("conv", "CONVOLUTION", "data", window(kernel_size=3, dilation=2, pad=6))
    assert offsets(load(conv + old("cut", "CROP", "conv data"))) == {"cut": [4, 4]}


def test_a_crop_before_counts(load: Callable[[str], Network]) -> None:
    first = PADDED + old("cut", "CROP", "conv data", "crop_param { offset: 30 offset: 32 }")
    wide = old("wide", "CONVOLUTION", "cut", window(kernel_size=1, pad=2))
    read = load(first + wide + old("last", "CROP", "wide cut") + old("all", "CROP", "conv wide"))
    assert offsets(read) == {"cut": [30, 32], "last": [2, 2], "all": [28, 30]}


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (
            pool("small", "data") + old("cut", "CROP", "data small"),
            "small has 1/2 times as many pixels as data",
        ),
        (
            old("conv", "CONVOLUTION", "data", window(kernel_size=2, pad=3))
            + old("cut", "CROP", "conv data"),
            "it would be 2.5",
        ),
        (
            old("conv", "CONVOLUTION", "data", window(kernel_size=3))
            + old("cut", "CROP", "conv data"),
            "it would be -1",
        ),
        (
            old("fc", "INNER_PRODUCT", "data", "inner_product_param { num_output: 2 }")
            + old("cut", "CROP", "data fc"),
            "where layer fc (InnerProduct) moves the pixels",
        ),
        (
            PADDED
            + "layers { name: 'const' type: DUMMY_DATA top: 'const' dummy_data_param { num: 1 "
            "channels: 1 height: 4 width: 4 } }" + old("cut", "CROP", "conv const"),
            "the bottoms have no blob in common",
        ),
    ],
)
def test_an_offset_that_does_not_follow_is_explained(
    load: Callable[[str], Network], layers: str, reason: str
) -> None:
    with pytest.raises(CaffeError) as failure:
        load(layers)
    (problem,) = failure.value.diagnostics
    assert problem.layer == "cut"
    assert reason in problem.message
    assert "state crop_param { offset: N }" in problem.message


@pytest.mark.parametrize(
    "layers",
    [
        old("conv", "CONVOLUTION", "data", window(kernel_size=3, stride=0))
        + old("cut", "CROP", "conv data"),
        old("conv", "CONVOLUTION", "data", "convolution_param { num_output: 1 }")
        + old("cut", "CROP", "conv data"),
        PADDED + old("cut", "CROP", "conv nothing"),
    ],
    ids=["stride", "kernel", "bottom"],
)
def test_what_is_wrong_before_a_crop_is_the_only_problem(tmp_path: Path, layers: str) -> None:
    with pytest.raises(CaffeError) as failure:
        convert_bytes((INPUT + layers).encode(), None, Options(simulated_weights=1))
    (problem,) = failure.value.diagnostics
    assert "offset" not in problem.message


def test_the_current_form_must_say_which_caffe_it_is_for(
    load: Callable[[str], Network],
) -> None:
    """BVLC Caffe reads the same text as offset 0."""
    with pytest.raises(CaffeError) as failure:
        load(current(SMALL))
    (problem,) = failure.value.diagnostics
    assert "crop_param { offset: 34 }" in problem.message
    assert "crop_param { offset: 0 }" in problem.message
    stated = current(PADDED + old("cut", "CROP", "conv data", "crop_param { offset: 0 }"))
    assert offsets(load(stated)) == {"cut": [0]}


@pytest.mark.parametrize(
    "layers",
    [
        old("conv", "CONVOLUTION", "data", window(kernel_size=3, pad=1))
        + old("cut", "CROP", "conv data"),
        pool("small", "data") + old("cut", "CROP", "data small"),
    ],
    ids=["both mean 0", "only BVLC Caffe reads it"],
)
def test_the_current_form_is_clear_where_the_offset_is_0(
    load: Callable[[str], Network], layers: str
) -> None:
    assert offsets(load(current(layers))) == {"cut": []}


def test_the_file_crops_at_the_computed_offset_and_opencv_agrees() -> None:
    """OpenCV gets the offset too. Left alone it would crop at 0."""
    stated = SMALL.replace('top: "cut" ', 'top: "cut" crop_param { offset: 34 }')
    image = np.random.default_rng(3).normal(size=(1, 1, 40, 40)).astype(np.float32)
    answers = []
    for layers in (SMALL, stated, stated.replace("34", "0")):
        model, report = convert_bytes((INPUT + layers).encode(), None, Options(simulated_weights=1))
        assert report.verification.status == "verified"
        assert "OpenCV" in report.verification.references[0]
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (answer,) = session.run(None, {"data": image})
        answers.append(np.asarray(answer))
    assert answers[0].shape == image.shape
    np.testing.assert_array_equal(answers[0], answers[1])
    assert np.abs(answers[0] - answers[2]).max() > 0.01
