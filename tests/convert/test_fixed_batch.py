"""Networks that mix the images of a batch, converted for one image at a time."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from convert.caffe.network import CaffeError
from convert.conversion import convert_bytes
from convert.options import Options
from convert.outputs.kinds import Kind
from sfd.cli import run_command
from sfd.errors import UsageError

ONE = Options(output=Kind.RAW, fixed_batch=True, simulated_weights=1)
OPEN = Options(output=Kind.RAW, simulated_weights=1)
INPUT = 'name: "mix" input: "data" input_shape { dim: 1 dim: 4 dim: 3 dim: 5 }\n'


def layer(kind: str, parameter: str = "", top: str = "x", bottom: str = "data") -> str:
    return f'layer {{ name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {parameter} }}\n'


MIXING = {
    "rows": layer("Reshape", "reshape_param { shape { dim: -1 dim: 6 } }"),
    "softmax": layer("Softmax", "softmax_param { axis: 0 }"),
    "product": layer("InnerProduct", "inner_product_param { axis: 0 num_output: 3 }"),
    "tile and slice": layer("Tile", "tile_param { axis: 0 tiles: 2 }", "t")
    + layer("Slice", 'slice_param { axis: 0 } top: "y"', "x", "t"),
    "scale": layer("Scale", "scale_param { axis: 0 num_axes: 2 bias_term: true }"),
    "sum": layer("Reduction"),
    "one number": layer("Reduction", "", "s")
    + layer("Power", "power_param { scale: 3 }", "x", "s"),
    "norm": layer("L2Norm", "l2norm_param { axis: 0 }"),
    "largest": layer("ArgMax", "argmax_param { axis: 0 }"),
    "order": layer("Reverse", "reverse_param { axis: 0 }"),
    "batch behind": layer("Permute", "permute_param { order: 2 order: 0 }", "p")
    + layer("Flatten", "flatten_param { axis: 0 end_axis: 1 }", "x", "p"),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_network_that_mixes_images_is_verified_for_one(name: str) -> None:
    text = (INPUT + MIXING[name]).encode()
    with pytest.raises(CaffeError, match="one image at a time: --output raw --fixed-batch"):
        convert_bytes(text, None, OPEN)
    model, report = convert_bytes(text, None, ONE)
    assert report.verification.status == "verified"
    assert report.inputs == {"data": [1, 4, 3, 5]}
    dims = [value.type.tensor_type.shape.dim for value in model.graph.output]
    assert all(dim.WhichOneof("value") == "dim_value" for shape in dims for dim in shape)


def test_a_network_that_mixes_nothing_gives_the_same_numbers() -> None:
    text = INPUT + layer(
        "Convolution",
        'convolution_param { num_output: 3 kernel_size: 2 weight_filler { type: "gaussian" } }',
    )
    image = np.random.default_rng(2).normal(size=(1, 4, 3, 5)).astype(np.float32)
    answers = []
    for options in (ONE, OPEN):
        model, _ = convert_bytes((text + layer("ReLU", "", "r", "x")).encode(), None, options)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        answers.append(np.asarray(session.run(None, {"data": image})[0]))
    one, several = answers
    np.testing.assert_array_equal(one, several)


def test_regions_stay_open() -> None:
    text = (
        'input: ["data", "rois"] input_shape { dim: [1, 4, 6, 6] } input_shape { dim: [1, 5] }\n'
        'layer { name: "p" type: "ROIPooling" bottom: "data" bottom: "rois" top: "p" '
        "roi_pooling_param { pooled_h: 2 pooled_w: 2 } }\n"
    )
    _, report = convert_bytes(text.encode(), None, ONE)
    assert report.verification.status == "verified"
    assert report.inputs == {"data": [1, 4, 6, 6], "rois": ["rois", 5]}


def test_a_sequence_has_no_batch_in_front() -> None:
    text = (
        'input: ["data", "cont"] input_shape { dim: [5, 1, 4] } input_shape { dim: [5, 1] }\n'
        'layer { name: "l" type: "LSTM" bottom: "data" bottom: "cont" top: "l" '
        "recurrent_param { num_output: 3 } }\n"
    )
    _, report = convert_bytes(text.encode(), None, ONE)
    assert report.verification.status == "verified"
    assert report.inputs["data"] == ["time", 1, 4]


def test_a_text_detector_reads_its_columns_from_both_sides() -> None:
    """The recurrent part of CTPN: each row of the features is a sequence, of windows of 3 x 3."""
    lstm = "lstm_param { num_output: 3 }"
    text = (
        INPUT
        + layer("Im2col", "convolution_param { pad: 1 kernel_size: 3 }", "windows")
        + layer("Transpose", "transpose_param { dim: [3, 2, 0, 1] }", "columns", "windows")
        + layer(
            "Reshape", "reshape_param { shape { dim: -1 } axis: 1 num_axes: 2 }", "in", "columns"
        )
        + layer("Lstm", lstm, "right", "in")
        + layer("Reverse", "reverse_param { axis: 0 }", "turned", "in")
        + layer("Lstm", lstm, "turned_left", "turned")
        + layer("Reverse", "reverse_param { axis: 0 }", "left", "turned_left")
        + layer("Concat", 'concat_param { axis: 2 } bottom: "left"', "both", "right")
        + layer(
            "Reshape",
            "reshape_param { shape { dim: -1 dim: 1 } axis: 1 num_axes: 1 }",
            "apart",
            "both",
        )
        + layer("Transpose", "transpose_param { dim: [2, 3, 1, 0] }", "image", "apart")
    )
    _, report = convert_bytes(text.encode(), None, ONE)
    assert report.verification.status == "verified"
    assert report.outputs == {"image": [1, 6, 3, 5]}


def test_a_prototxt_for_more_images_is_refused() -> None:
    text = INPUT.replace("dim: 1 ", "dim: 10 ", 1) + layer("ReLU")
    with pytest.raises(UsageError, match="the prototxt states 10: write 1"):
        convert_bytes(text.encode(), None, ONE)


@pytest.mark.parametrize("kind", [Kind.HEADS, Kind.DETECTIONS])
def test_a_detector_keeps_its_batch(kind: Kind) -> None:
    options = Options(output=kind, fixed_batch=True, simulated_weights=1)
    with pytest.raises(UsageError, match="--fixed-batch goes with --output raw only"):
        convert_bytes((INPUT + layer("ReLU")).encode(), None, options)


def test_the_command_has_the_option(tmp_path: Path) -> None:
    prototxt, output = tmp_path / "mix.prototxt", tmp_path / "mix.onnx"
    prototxt.write_text(INPUT + MIXING["rows"])
    arguments = [str(prototxt), "--simulate-weights", "1", "-o", str(output), "--fixed-batch"]
    assert run_command("convert", arguments) == 0
    (value,) = onnx.load(output).graph.output
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [10, 6]
