"""Verification finds each kind of error. Other tests show that it passes correct files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from convert.caffe import network
from convert.outputs.kinds import Built, Kind, build
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from convert.report import Status
from convert.verify import verification, verify
from convert.verify.file import ConvertedFile
from convert.verify.inputs import pictures
from convert.verify.numpy_reference import NAME
from geometry.arrays import F32


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]


def built(model: Files, kind: Kind, order: ChannelOrder = ChannelOrder.BGR) -> Built:
    read = network.load(model.prototxt, model.caffemodel)
    preprocessing = None if kind is Kind.RAW else Preprocessing.of(3, order)
    # Unmerged, so that each layer has constants of its own to change.
    return build(read, kind, preprocessing, "tiny", merging=False)


def initializer(model: onnx.ModelProto, prefix: str) -> onnx.TensorProto:
    return next(item for item in model.graph.initializer if item.name.startswith(prefix))


def change(tensor: onnx.TensorProto, by: Callable[[object], object]) -> None:
    array = np.asarray(by(numpy_helper.to_array(tensor)), numpy_helper.to_array(tensor).dtype)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def weights(model: Files) -> bytes:
    return model.caffemodel.read_bytes()


@pytest.mark.parametrize("kind", Kind)
def test_a_correct_model_is_verified_with_all_comparisons(tiny: Make, kind: Kind) -> None:
    model = tiny()
    steps: list[str] = []
    found = verify(built(model, kind), weights(model), steps.append)
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert all(item.passed for item in found.comparisons)
    names = list(pictures(3, 48, 64))
    assert steps == ["OpenCV", "batch", *names]
    assert {item.input for item in found.comparisons} == {
        *names,
        *(f"{name} in a batch of 3" for name in ("noise", "gradient", "scene")),
    }
    assert {"loc_flat", "conf_flat", "priors"} <= {item.output for item in found.comparisons}


@pytest.mark.parametrize(
    ("kind", "prefix", "by"),
    [
        (Kind.HEADS, "conv1/weight", lambda array: array * 1.001),
        (Kind.HEADS, "conf/bias", lambda array: array * 1.05),
        (Kind.HEADS, "loc_flat/Reshape/Split/Mul/Add/shift", lambda array: array + 0.0005),
        (Kind.HEADS, "loc_flat/Reshape/Split_2/Mul/Exp/Mul/scale", lambda array: array * 1.002),
        (Kind.HEADS, "mean", lambda array: array[:, ::-1]),
        (Kind.HEADS, "channel_order", lambda array: array[::-1]),
        (Kind.DETECTIONS, "nms_threshold", lambda array: array + 0.1),
        (Kind.DETECTIONS, "confidence_threshold", lambda array: array + 0.59),
        (Kind.DETECTIONS, "ranks", lambda array: array - 20),
        (Kind.DETECTIONS, "keep_top_k", lambda array: array - 10),
        (Kind.DETECTIONS, "keep_top_k", lambda array: array + 5),
        (Kind.RAW, "loc/weight", lambda array: array[..., ::-1]),
    ],
)
def test_each_kind_of_error_is_found(
    tiny: Make, kind: Kind, prefix: str, by: Callable[[object], object]
) -> None:
    model = tiny()
    wrong = built(model, kind)
    change(initializer(wrong.model, prefix), by)
    found = verify(wrong, weights(model))
    assert found.status is Status.FAILED
    assert "comparisons; first" in found.reason or "can't run the file" in found.reason


@pytest.mark.parametrize(("off", "status"), [(3e-4, Status.VERIFIED), (3e-3, Status.FAILED)])
def test_a_picture_that_fails_is_run_again_without_optimizations(
    tiny: Make, monkeypatch: pytest.MonkeyPatch, off: float, status: Status
) -> None:
    model = tiny()
    made: list[bool] = []

    class Rounded(ConvertedFile):
        """As if onnxruntime's optimizations made one blob inexact."""

        def __init__(
            self,
            model: onnx.ModelProto,
            inner: Sequence[str] = (),
            *,
            optimized: bool = True,
            folder: Path | None = None,
        ) -> None:
            super().__init__(model, inner, optimized=optimized, folder=folder)
            self.optimized = optimized
            made.append(optimized)

        def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, F32]:
            found = dict(super().run(inputs))
            if self.optimized and blob in found:
                found[blob] = found[blob] * np.float32(1 + off)
            return found

    right = built(model, Kind.HEADS)
    blob = right.values["loc_flat"]
    monkeypatch.setattr(verification, "ConvertedFile", Rounded)
    found = verify(right, weights(model))
    assert found.status is status
    assert made == [True, True, False]
    notes = [item.note for item in found.comparisons if item.output == "loc_flat"]
    assert any(note.startswith("OpenCV's own answers differ") for note in notes) == (off < 1e-3)


def test_a_model_that_does_not_load_fails(tiny: Make) -> None:
    model = tiny()
    wrong = built(model, Kind.HEADS)
    wrong.model.graph.node[0].op_type = "NoSuchOperator"
    found = verify(wrong, weights(model))
    assert found.status is Status.FAILED
    assert "onnxruntime can't load the file" in found.reason


NORMALIZED = """layer { name: "norm" type: "L2Norm" bottom: "conv1" top: "conv1"
        l2norm_param { axis: 1 } }
"""


@pytest.mark.parametrize("kind", Kind)
def test_numpy_is_the_reference_for_a_detector_that_opencv_cannot_run(
    tiny: Make, kind: Kind
) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    model.prototxt.write_text(
        text.replace('layer { name: "loc"', NORMALIZED + 'layer { name: "loc"')
    )
    right = built(model, kind)
    found = verify(right, weights(model))
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert NAME in found.references
    rows = [item for item in found.comparisons if item.output in ("detections", "detection_out")]
    assert kind is Kind.HEADS or {item.reference for item in rows} >= {
        f"Caffe's DetectionOutput on loc and conf of {NAME}"
    }
    change(initializer(right.model, "conf/bias"), lambda array: np.asarray(array) * 1.05)
    assert verify(right, weights(model)).status is Status.FAILED


def test_numpy_is_the_reference_for_priors_that_opencv_misreads(tiny: Make) -> None:
    model = tiny("img_w: 32 img_h: 24 max_size: 20 max_size: 30 aspect_ratio: 2 clip: true")
    right = built(model, Kind.HEADS)
    found = verify(right, weights(model))
    assert (found.status, found.reason) == (Status.VERIFIED, "")
    assert {item.reference for item in found.comparisons if item.output == "priors"} == {NAME}
    assert right.heads is not None
    right.heads.prior_boxes[0, 0, 5] += 0.001
    assert verify(right, weights(model)).status is Status.FAILED


def test_swapped_channels_are_found(tiny: Make) -> None:
    model = tiny()
    right, other = (
        built(model, Kind.HEADS, order) for order in (ChannelOrder.BGR, ChannelOrder.RGB)
    )
    right.model.CopyFrom(other.model)
    assert verify(right, weights(model)).status is Status.FAILED


def test_a_layer_that_no_reference_knows_leaves_the_file_unverified(tiny: Make) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    extra = 'layer { name: "tail" type: "ReLU6" bottom: "conf_perm" top: "tail" }\n'
    model.prototxt.write_text(text.replace("layer", f"{extra}layer", 0) + extra)
    read = build(network.load(model.prototxt, model.caffemodel), Kind.RAW, None, "tiny")
    for layer in read.network.layers:
        if layer.name == "tail":
            layer.parameter.type = "NobodysLayer"
            object.__setattr__(layer, "type", "NobodysLayer")
    found = verify(read, weights(model))
    assert found.status is Status.UNVERIFIED
    assert found.reason.startswith("nothing to compare with for tail: OpenCV: ")
    assert "no formula for layers of type NobodysLayer" in found.reason
    assert all(item.passed for item in found.comparisons)
    assert {"detection_out", "loc_flat"} <= {item.output for item in found.comparisons}


def test_opencv_reads_the_weights_from_the_file_itself(tiny: Make) -> None:
    model = tiny()
    read = network.load(model.prototxt, model.caffemodel)
    for layer in read.layers:
        if layer.name == "conv1":
            layer.blobs[0][:] = layer.blobs[0] * 1.01  # as if our reader had a bug
    wrong = build(read, Kind.HEADS, Preprocessing.of(3), "tiny")
    assert verify(wrong, weights(model)).status is Status.FAILED


def test_pictures_are_the_same_each_time_for_any_number_of_channels() -> None:
    for channels in (1, 3, 4):
        one, other = (pictures(channels, 20, 30) for _ in range(2))
        assert list(one) == ["noise", "constant", "gradient", "impulse", "scene"]
        for name, picture in one.items():
            assert picture.shape == (20, 30, channels)
            assert picture.dtype == np.uint8
            np.testing.assert_array_equal(picture, other[name])
