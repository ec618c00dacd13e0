"""Networks of several inputs, of vectors, of gray images and of data layers, from files to file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import pytest

from convert.caffe import weights
from convert.caffe.network import CaffeError
from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from convert.report import Report, Status
from geometry.arrays import F32
from sfd.errors import SfdError, UsageError


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]
FAST = Options(verify=False)


def run_conversion(model: Files, output: Path, options: Options = FAST) -> Report:
    return convert_file(model.prototxt, model.caffemodel, output, options)


def write_model(folder: Path, text: str, blobs: Mapping[str, tuple[F32, ...]]) -> Files:
    """The files of a network, in a folder."""

    class Written:
        prototxt = folder / "deploy.prototxt"
        caffemodel = folder / "weights.caffemodel"

    Written.prototxt.write_text(text)
    weights.write(Written.caffemodel, "net", blobs)
    return Written()


def random(*shape: int) -> F32:
    return np.random.default_rng(5).normal(0, 0.2, shape).astype(np.float32)


PAIR = """\
input: "left" input_shape { dim: 1 dim: 3 dim: 12 dim: 10 }
input: "right" input_shape { dim: 1 dim: 3 dim: 12 dim: 10 }
input: "info" input_shape { dim: 1 dim: 3 }
layer {
  name: "c" type: "Convolution" bottom: "left" bottom: "right" top: "a" top: "b"
  convolution_param { num_output: 4 kernel_size: 3 }
}
layer {
  name: "d" type: "Eltwise" bottom: "a" bottom: "b" top: "d"
  eltwise_param { coeff: 1 coeff: -1 }
}
layer {
  name: "p" type: "InnerProduct" bottom: "info" top: "p"
  inner_product_param { num_output: 2 }
}
"""
PAIR_BLOBS = {"c": (random(4, 3, 3, 3), random(4)), "p": (random(2, 3), random(2))}


def test_several_inputs_keep_their_names_and_share_the_batch(tmp_path: Path) -> None:
    model = write_model(tmp_path, PAIR, PAIR_BLOBS)
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.inputs == {
        "left": ["batch", 3, 12, 10],
        "right": ["batch", 3, 12, 10],
        "info": ["batch", 3],
    }
    assert {comparison.output for comparison in report.verification.comparisons} == {"d", "p"}
    assert any("in a batch of 3" in each.input for each in report.verification.comparisons)


def test_an_input_size_changes_all_images_of_one_size(tmp_path: Path) -> None:
    model = write_model(tmp_path, PAIR, PAIR_BLOBS)
    options = Options(input_size=(9, 11), verify=False)
    report = run_conversion(model, tmp_path / "out.onnx", options)
    assert report.inputs["left"] == report.inputs["right"] == ["batch", 3, 9, 11]
    assert report.inputs["info"] == ["batch", 3]
    assert report.metadata["sfd.input_size"] == "9x11"


@pytest.mark.parametrize("kind", [Kind.HEADS, Kind.DETECTIONS])
def test_heads_and_detections_need_one_image(tiny: Make, tmp_path: Path, kind: Kind) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    more = 'input: "info" input_shape { dim: 1 dim: 3 }\nlayer { name: "conv1"'
    text = text.replace('layer { name: "conv1"', more, 1)
    text += 'layer { name: "flat" type: "Flatten" bottom: "info" top: "flat" }\n'
    text += 'layer { name: "odd" type: "NoSuchType" bottom: "info" top: "odd" }\n'
    model.prototxt.write_text(text)
    with pytest.raises(CaffeError) as caught:
        run_conversion(model, tmp_path / "out.onnx", Options(output=kind, verify=False))
    first, second = map(str, caught.value.diagnostics)
    assert first == (
        f"{kind} need one input, the image, but the network has data, info: "
        "only `sfd convert --output raw` takes it"
    )
    assert "layers of type NoSuchType can't be converted" in second


def test_a_vector_is_an_input_too(tmp_path: Path) -> None:
    text = """\
input: "features" input_shape { dim: 1 dim: 20 }
layer { name: "p" type: "InnerProduct" bottom: "features" top: "p"
        inner_product_param { num_output: 5 } }
"""
    model = write_model(tmp_path, text, {"p": (random(5, 20), random(5))})
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.inputs == {"data": ["batch", 20]}
    assert "sfd.input_size" not in report.metadata


def test_all_problems_are_reported_with_those_of_the_inputs(tmp_path: Path) -> None:
    text = """\
layer { name: "d" type: "Data" top: "data" top: "label" }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "x" type: "NoSuchType" bottom: "c" top: "x" }
layer { name: "y" type: "Power" bottom: "nowhere" top: "y" power_param { power: inf } }
"""
    model = write_model(tmp_path, text, {"other": (random(1),)})
    with pytest.raises(CaffeError) as caught:
        run_conversion(model, tmp_path / "out.onnx")
    assert [problem.layer for problem in caught.value.diagnostics] == ["d", "y", "y", "x"]


LENET = """\
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { scale: 0.00390625 } data_param { source: "db" batch_size: 100 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 5 } }
layer { name: "p" type: "InnerProduct" bottom: "c" top: "p" inner_product_param { num_output: 3 } }
layer { name: "accuracy" type: "Accuracy" bottom: "p" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "p" bottom: "label" top: "loss" }
"""
LENET_BLOBS = {"c": (random(4, 1, 5, 5), random(4)), "p": (random(3, 576), random(3))}


@pytest.mark.parametrize("order", [None, ChannelOrder.GRAY])
def test_a_gray_train_prototxt_converts_with_an_input_size(
    tmp_path: Path, order: ChannelOrder | None
) -> None:
    model = write_model(tmp_path, LENET, LENET_BLOBS)
    options = Options(input_size=(16, 16), channel_order=order)
    report = run_conversion(model, tmp_path / "out.onnx", options)
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.inputs == {"data": ["batch", 1, 16, 16]}
    assert list(report.outputs) == ["p"]


def test_gray_does_not_fit_a_raw_network_of_colours(tmp_path: Path) -> None:
    model = write_model(tmp_path, PAIR, PAIR_BLOBS)
    options = Options(channel_order=ChannelOrder.GRAY, verify=False)
    with pytest.raises(UsageError, match="does not fit input left, which has 3 channels"):
        run_conversion(model, tmp_path / "out.onnx", options)


@pytest.mark.parametrize("how", ["digits", "digits, four blobs", "three blobs"])
def test_nvidias_batch_norm_converts_in_every_order(tmp_path: Path, how: str) -> None:
    text = """\
input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn"
        batch_norm_param { scale_filler { value: 1 } bias_filler { value: 0 } } }
"""
    mean, variance, bias = random(3), np.abs(random(3)) + 1, random(3)
    scale, one = random(3) + 1, np.ones(1, np.float32)
    blobs = {
        "digits": tuple(blob.reshape(1, -1, 1, 1) for blob in (scale, bias, mean, variance, one)),
        "digits, four blobs": (scale, bias, mean, variance),
        "three blobs": (mean, variance, one),
    }[how]
    model = write_model(tmp_path, text, {"bn": blobs})
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    x = random(2, 3, 9, 9)
    expected = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    if how != "three blobs":
        expected = expected * scale[:, None, None] + bias[:, None, None]
    (found,) = session.run(None, {"data": x})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


FAST_RCNN = """\
input: "data" input_shape { dim: 1 dim: 3 dim: 24 dim: 32 }
input: "rois" input_shape { dim: 1 dim: 5 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "roi" type: "ROIPooling" bottom: "c" bottom: "rois" top: "roi"
        roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 } }
layer { name: "f" type: "Reshape" bottom: "roi" top: "f"
        reshape_param { shape { dim: -1 dim: 16 } } }
layer { name: "p" type: "InnerProduct" bottom: "f" top: "p" inner_product_param { num_output: 3 } }
layer { name: "s" type: "Softmax" bottom: "p" top: "s" }
"""
FAST_RCNN_BLOBS = {"c": (random(4, 3, 3, 3), random(4)), "p": (random(3, 16), random(3))}


def test_regions_have_an_open_number_of_their_own(tmp_path: Path) -> None:
    model = write_model(tmp_path, FAST_RCNN, FAST_RCNN_BLOBS)
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.inputs == {"data": ["batch", 3, 24, 32], "rois": ["rois", 5]}
    assert report.outputs == {"s": ["rois", 3]}
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    rois = np.asarray([[0, 0, 0, 31, 23], [1, 4, 4, 20, 16], [1, 2, 3, 4, 5]], np.float32)
    (found,) = session.run(None, {"data": random(2, 3, 24, 32), "rois": rois})
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_weights_over_an_open_axis_are_refused(tmp_path: Path) -> None:
    text = FAST_RCNN[: FAST_RCNN.index('layer { name: "s"')]
    scale = 'layer { name: "m" type: "Scale" bottom: "p" top: "m" scale_param { axis: 0 } }'
    dense = 'layer { name: "m" type: "InnerProduct" bottom: "p" top: "m" inner_product_param { '
    total = 'layer { name: "m" type: "Reduction" bottom: "p" top: "m" }'
    for layer, expected in (
        (scale, "axis 0 of p is the rois, whose size is dynamic"),
        (f"{dense}num_output: 2 axis: 0 }} }}", "axis 0 of p is the rois, whose size is dynamic"),
        (total, "axis is 0, which mixes images"),
    ):
        model = write_model(tmp_path, text + layer, FAST_RCNN_BLOBS)
        with pytest.raises(SfdError, match=expected):
            run_conversion(model, tmp_path / "out.onnx")


def test_a_network_without_outputs_is_refused(tmp_path: Path) -> None:
    text = 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n'
    text = 'input: "data" input_shape { dim: 1 dim: 3 }\n' + text
    model = write_model(tmp_path, text + 'layer { name: "s" type: "Silence" bottom: "a" }', {})
    with pytest.raises(SfdError, match="the network has no output"):
        run_conversion(model, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


GOOGLENET_LIKE = """\
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { mirror: true crop_size: 16 mean_value: 104 }
        data_param { source: "db" batch_size: 32 backend: LMDB } }
layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 16 mean_value: 104 mean_value: 117 mean_value: 123 }
        data_param { source: "db" batch_size: 50 backend: LMDB } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "p" type: "InnerProduct" bottom: "c" top: "p" inner_product_param { num_output: 3 } }
layer { name: "loss1" type: "SoftmaxWithLoss" bottom: "p" bottom: "label" top: "loss1"
        loss_weight: 0.3 include { phase: TRAIN } }
layer { name: "top1" type: "Accuracy" bottom: "p" bottom: "label" top: "top1"
        include { phase: TEST } }
layer { name: "top5" type: "Accuracy" bottom: "p" bottom: "label" top: "top5"
        include { phase: TEST } accuracy_param { top_k: 5 } }
"""


@pytest.mark.parametrize("size", [None, (16, 16)])
def test_a_train_val_prototxt_converts_without_its_labels(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    blobs = {"c": (random(4, 3, 3, 3), random(4)), "p": (random(3, 784), random(3))}
    model = write_model(tmp_path, GOOGLENET_LIKE, blobs)
    report = run_conversion(model, tmp_path / "out.onnx", Options(input_size=size))
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.inputs == {"data": ["batch", 3, 16, 16]}
    assert list(report.outputs) == ["p"]
    (left_out,) = [each for each in report.warnings if "left out" in each]
    assert all(name in left_out for name in ("d", "top1", "top5"))


SHARED = """\
input: "left" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
input: "right" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 }
layer { name: "a" type: "Convolution" bottom: "left" top: "a"
        param { name: "w" } param { name: "b" }
        convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "b" type: "Convolution" bottom: "right" top: "b"
        param { name: "w" } param { name: "b" }
        convolution_param { num_output: 2 kernel_size: 3 } }
"""


def test_shared_weights_are_those_that_caffe_uses(tmp_path: Path) -> None:
    used = (random(2, 3, 3, 3), random(2))
    model = write_model(tmp_path, SHARED, {"a": (used[0] + 1, used[1]), "b": used})
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert any("shares w, but has other values" in warning for warning in report.warnings)
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    x = random(1, 3, 9, 9)
    one, other = session.run(None, {"left": x, "right": x})
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_weights_that_are_not_finite_are_one_problem_a_blob(tmp_path: Path) -> None:
    weight = random(5, 20)
    weight[0, 0] = np.nan
    text = """\
input: "data" input_shape { dim: 1 dim: 20 }
layer { name: "p" type: "InnerProduct" bottom: "data" top: "p"
        inner_product_param { num_output: 5 } }
layer { name: "x" type: "NoSuchType" bottom: "p" top: "x" }
"""
    model = write_model(tmp_path, text, {"p": (weight, random(5))})
    with pytest.raises(CaffeError) as caught:
        run_conversion(model, tmp_path / "out.onnx")
    first, second = map(str, caught.value.diagnostics)
    assert (
        first
        == "line 2, layer p: blob 0 of the weights file: 1 of its 100 values are infinite or NaN"
    )
    assert "layers of type NoSuchType" in second


@pytest.mark.parametrize("image", ["image", "caffe/caffe/data"])
def test_a_top_named_like_the_files_input_gets_a_name_that_no_other_has(
    tmp_path: Path, image: str
) -> None:
    text = (
        f'input: "{image}" input_shape {{ dim: [1, 3, 8, 8] }}\n'
        f'layer {{ name: "n" type: "Power" bottom: "{image}" top: "data" '
        "power_param { scale: -1 } }\n"
        f'layer {{ name: "d" type: "Power" bottom: "{image}" top: "caffe/data" '
        "power_param { scale: 2 } }\n"
    )
    model = write_model(tmp_path, text, {})
    report = run_conversion(model, tmp_path / "out.onnx", Options(output=Kind.RAW))
    assert report.verification.status is Status.VERIFIED
    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    pixels = random(1, 3, 8, 8)
    prefix = "caffe/" * (2 if image == "image" else 3)
    found = session.run([f"{prefix}data", "caffe/data"], {"data": pixels})
    np.testing.assert_array_equal(found, [-pixels, 2 * pixels])


def test_an_input_without_a_size_converts_at_the_given_one(tmp_path: Path) -> None:
    text = (
        'input: "data"\n'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 2 kernel_size: 3 bias_term: false } }\n"
    )
    model = write_model(tmp_path, text, {"c": (random(2, 4, 3, 3),)})
    report = run_conversion(
        model, tmp_path / "out.onnx", Options(output=Kind.RAW, input_size=(9, 11))
    )
    assert report.verification.status is Status.VERIFIED
    (data,) = onnxruntime.InferenceSession(tmp_path / "out.onnx").get_inputs()
    assert data.shape[1:] == [4, 9, 11]
