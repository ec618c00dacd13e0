import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from convert import conversion
from convert.caffe import caffe_pb2, network, weights
from convert.caffe.network import CaffeError
from convert.conversion import (
    STEPS,
    ConversionError,
    VerificationError,
    convert_file,
    explain_file,
)
from convert.options import Options
from convert.outputs.kinds import Built, Kind
from convert.outputs.preprocessing import ChannelOrder
from convert.report import Report, Status, Verification
from geometry.arrays import F32
from sfd.errors import SfdError, UsageError
from sfd.files import WriteError


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


Make = Callable[..., Files]
Run = Callable[[Path, NDArray[np.generic]], dict[str, F32]]
FAST = Options(verify=False)


def run_conversion(model: Files, output: Path, options: Options = FAST) -> Report:
    return convert_file(model.prototxt, model.caffemodel, output, options)


def graph_bytes(path: Path) -> bytes:
    return onnx.load(path).graph.SerializeToString(deterministic=True)


def reencoded(model: Files, folder: Path, how: str) -> Files:
    """The weights in another of Caffe's encodings; float32 ones are first rounded to half."""
    net = caffe_pb2.NetParameter.FromString(model.caffemodel.read_bytes())
    for layer in net.layer:
        for blob in layer.blobs:
            values = np.asarray(blob.data, np.float32).astype(np.float16)
            blob.ClearField("data")
            if how == "float":
                blob.data.extend(values.astype(np.float32))
            elif how == "double":
                blob.double_data.extend(values.astype(np.float64))
            else:
                blob.raw_data_type = caffe_pb2.FLOAT16
                blob.raw_data = values.astype("<f2").tobytes()
    folder.mkdir()
    (folder / "deploy.prototxt").write_bytes(model.prototxt.read_bytes())
    (folder / "weights.caffemodel").write_bytes(net.SerializeToString())

    class Copy:
        prototxt = folder / "deploy.prototxt"
        caffemodel = folder / "weights.caffemodel"

    return Copy()


@pytest.mark.parametrize("how", ["double", "half"])
@pytest.mark.parametrize("kind", Kind)
def test_half_and_double_weights_give_the_file_of_their_float_twins(
    tiny: Make, tmp_path: Path, how: str, kind: Kind
) -> None:
    options, model = Options(output=kind, verify=False), tiny()
    for encoding in ("float", how):
        run_conversion(
            reencoded(model, tmp_path / encoding, encoding), tmp_path / f"{encoding}.onnx", options
        )
    first, second = (onnx.load(tmp_path / f"{name}.onnx") for name in ("float", how))
    assert graph_bytes(tmp_path / "float.onnx") == graph_bytes(tmp_path / f"{how}.onnx")
    differing = [
        one.key
        for one, other in zip(first.metadata_props, second.metadata_props, strict=True)
        if one != other
    ]
    assert differing == ["sfd.caffemodel_sha256"]


DATA = """layer {{ name: "images" type: "AnnotatedData" top: "data" top: "label"
    transform_param {{ {0} resize_param {{ height: 48 width: 64 }} }} }}"""


@pytest.mark.parametrize(
    ("transform", "options", "advice"),
    [
        ("mean_value: [104, 117, 123]", FAST, None),
        ("mean_value: 127.5 scale: 0.5", replace(FAST, mean=(127.5,), scale=0.5), None),
        (
            "mean_value: 104.01 scale: 0.0078431373",
            replace(FAST, mean=(104.01,), scale=0.00784314),
            None,
        ),
        ("mean_value: 127.5", FAST, "give --mean 127.5"),
        ("mean_value: [1, 2]", FAST, "give --mean 1,2"),
        ("mean_value: [1, 2, 3.5] scale: 0.5", FAST, "give --mean 1,2,3.5 and --scale 0.5"),
        ("scale: 0.5", replace(FAST, mean=(0.0, 0.0, 0.0)), "give --scale 0.5"),
        ("crop_size: 0", FAST, "give --mean 0"),
        ("mean_file: 'm.binaryproto'", FAST, "give --mean with the means of m.binaryproto"),
        ("mean_value: 1", replace(FAST, output=Kind.RAW), None),
    ],
)
def test_a_data_layer_that_preprocesses_images_differently_gives_a_warning(
    tiny: Make, tmp_path: Path, transform: str, options: Options, advice: str | None
) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    start, end = text.index('input: "data"'), text.index('layer { name: "conv1"')
    prototxt = tmp_path / "test.prototxt"
    prototxt.write_text(text[:start] + DATA.format(transform) + text[end:])
    report = convert_file(prototxt, model.caffemodel, tmp_path / "out.onnx", options)
    warnings = [each for each in report.warnings if "preprocesses images" in each]
    assert len(warnings) == (advice is not None)
    if advice:
        assert "layer images: " in warnings[0]
        assert advice in warnings[0]


@pytest.mark.parametrize("how", ["float", "double", "half"])
def test_every_encoding_of_weights_is_verified(tiny: Make, tmp_path: Path, how: str) -> None:
    model = reencoded(tiny(), tmp_path / "model", how)
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.VERIFIED


@pytest.mark.parametrize("kind", Kind)
def test_equal_sources_give_equal_bytes(tiny: Make, tmp_path: Path, kind: Kind) -> None:
    model, options = tiny(), Options(output=kind)
    reports = [run_conversion(model, tmp_path / name, options) for name in ("a.onnx", "b.onnx")]
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert reports[0].onnx_sha256 == reports[1].onnx_sha256


@pytest.mark.parametrize("classes", [2, 4])
def test_a_batch_of_seven_gives_the_rows_of_seven_single_pictures(
    tiny: Make, tmp_path: Path, run_onnx: Run, classes: int
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 48, 64, 3), np.uint8)
    model = tiny(classes=classes)
    for kind in Kind:
        path = tmp_path / f"{kind}.onnx"
        run_conversion(model, path, Options(output=kind, verify=False))
        batch = images
        if kind is Kind.RAW:
            batch = images.transpose(0, 3, 1, 2).astype(np.float32)
        together = run_onnx(path, batch)
        for index in range(7):
            alone = run_onnx(path, batch[index : index + 1])
            for name, array in together.items():
                if kind is Kind.HEADS:
                    np.testing.assert_allclose(array[index], alone[name][0], atol=1e-6)
                    continue
                rows = array.reshape(-1, 7)
                rows = rows[rows[:, 0] == index]
                single = alone[name].reshape(-1, 7)
                assert len(rows)
                np.testing.assert_allclose(rows[:, 1:], single[:, 1:], atol=1e-6)


def test_a_file_runs_without_warnings_and_takes_only_the_image(tiny: Make, tmp_path: Path) -> None:
    # More detections than keep_top_k, several classes, several images: no two sizes are the same.
    models = {"one": tiny(), "more": tiny(classes=4)}
    paths = []
    for name, model in models.items():
        for kind in Kind:
            paths.append(str(tmp_path / f"{name}-{kind}.onnx"))
            run_conversion(model, Path(paths[-1]), Options(output=kind, verify=False))
    code = (
        "import sys, numpy, onnxruntime\n"
        "for path in sys.argv[1:]:\n"
        "    options = onnxruntime.SessionOptions()\n"
        "    options.log_severity_level = 2\n"
        "    session = onnxruntime.InferenceSession(path, options,\n"
        "                                           providers=['CPUExecutionProvider'])\n"
        "    names = [value.name for value in session.get_inputs()]\n"
        "    for batch in (1, 3, 2):\n"
        "        image = numpy.random.default_rng(0).integers(0, 256, (batch, 48, 64, 3), 'u1')\n"
        "        if names == ['data']:\n"
        "            image = image.transpose(0, 3, 1, 2).astype('f4')\n"
        "        session.run(None, {names[0]: image})\n"
        "    print(','.join(names))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["images", "images", "data"] * 2


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("prior", "detection", "classes"),
    [
        ("", "code_type: CORNER", 2),
        ("", "code_type: CORNER_SIZE", 2),
        ("", "code_type: CENTER_SIZE variance_encoded_in_target: true", 2),
        ("max_size: 20 max_size: 40 aspect_ratio: 2", "code_type: CENTER_SIZE", 2),
        ("step_h: 5 step_w: 3 offset: 0.2 clip: true", "code_type: CENTER_SIZE", 2),
        ("img_size: 100", "code_type: CENTER_SIZE", 2),
        ("", "code_type: CENTER_SIZE share_location: false", 2),
        ("", "code_type: CENTER_SIZE background_label_id: 1", 2),
        ("", "code_type: CENTER_SIZE", 4),
    ],
)
def test_detectors_of_every_make_convert_verified(
    tiny: Make, tmp_path: Path, kind: Kind, prior: str, detection: str, classes: int
) -> None:
    model = tiny(prior, detection, classes)
    report = run_conversion(model, tmp_path / "out.onnx", Options(output=kind))
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    compared = [item for item in report.verification.comparisons if "detections agree" in item.note]
    assert any(not item.note.startswith("0 ") for item in compared)


def test_a_fraction_of_a_min_size_is_dropped_as_in_caffe_and_still_verified(
    tiny: Make, tmp_path: Path
) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    model.prototxt.write_text(text.replace("min_size: 12 ", "min_size: 12.9 "))
    run_conversion(model, tmp_path / "fraction.onnx", Options())
    model.prototxt.write_text(text)
    run_conversion(model, tmp_path / "whole.onnx", Options())
    assert graph_bytes(tmp_path / "fraction.onnx") == graph_bytes(tmp_path / "whole.onnx")


@pytest.mark.parametrize("kind", [Kind.DETECTIONS, Kind.RAW])
def test_a_box_for_each_class_converts_to_rows(tiny: Make, tmp_path: Path, kind: Kind) -> None:
    model = tiny("", "code_type: CENTER_SIZE share_location: false", 3)
    report = run_conversion(model, tmp_path / "out.onnx", Options(output=kind))
    assert report.verification.status is Status.VERIFIED, report.verification.reason


def test_a_box_for_each_class_cannot_be_heads(tiny: Make, tmp_path: Path) -> None:
    model = tiny("", "code_type: CENTER_SIZE share_location: false", 3)
    with pytest.raises(SfdError, match="convert with --output detections or raw"):
        run_conversion(model, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_the_input_size_can_be_chosen(tiny: Make, tmp_path: Path) -> None:
    report = run_conversion(tiny(), tmp_path / "out.onnx", Options(input_size=(32, 96)))
    assert report.input["shape"] == ["batch", 32, 96, 3]
    assert report.outputs["boxes"] == ["batch", 8 * 24 * 2, 4]


@pytest.mark.parametrize("order", [ChannelOrder.BGR, ChannelOrder.RGB])
def test_mean_scale_and_channel_order_are_part_of_the_graph(
    tiny: Make, tmp_path: Path, run_onnx: Run, order: ChannelOrder
) -> None:
    model, image = tiny(), np.random.default_rng(1).integers(0, 256, (1, 48, 64, 3), np.uint8)
    raw, heads = tmp_path / "raw.onnx", tmp_path / "heads.onnx"
    run_conversion(model, raw, Options(output=Kind.RAW, verify=False))
    mean = (10.0, 20.0, 30.0)
    options = Options(output=Kind.DETECTIONS, channel_order=order, mean=mean, scale=0.5)
    assert run_conversion(model, heads, options).verification.status is Status.VERIFIED
    ordered = image[..., ::-1] if order is ChannelOrder.BGR else image
    data = ((ordered - np.asarray(mean, np.float32)) * np.float32(0.5)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        run_onnx(heads, image)["detections"],
        run_onnx(raw, np.ascontiguousarray(data))["detection_out"][0, 0],
        atol=1e-5,
    )


def test_metadata_say_what_the_file_is(tiny: Make, tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "out.onnx"
    report = run_conversion(model, path, Options(name="my faces"))
    found = {item.key: item.value for item in onnx.load(path).metadata_props}
    assert found == report.metadata
    assert found == {
        "sfd.name": "my faces",
        "sfd.output": "heads",
        "sfd.prototxt_sha256": report.sources["prototxt"],
        "sfd.caffemodel_sha256": report.sources["caffemodel"],
        "sfd.input_size": "48x64",
        "sfd.channels": "3",
        "sfd.channel_order": "bgr",
        "sfd.mean": "104,117,123",
        "sfd.scale": "1",
        "sfd.class_names": '["face"]',
        "sfd.default_score": "0.4",
        "sfd.nms_threshold": "0.45",
        "sfd.top_k": "80",
        "sfd.keep_top_k": "50",
        "sfd.converter_version": report.versions["sfd"],
        "sfd.verification": "verified",
        "sfd.verified_by": "opencv",
    }


def test_a_wrong_file_is_not_written(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translate = conversion._build

    def spoiled(*arguments: object) -> Built:
        built = translate(*arguments)  # type: ignore[arg-type]
        weight = max(built.model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = np.frombuffer(weight.raw_data, np.float32).copy()
        values[: len(values) // 8] *= 1.01
        weight.raw_data = values.tobytes()
        return built

    monkeypatch.setattr(conversion, "_build", spoiled)
    with pytest.raises(VerificationError, match="verification failed, no file written") as caught:
        run_conversion(tiny(), tmp_path / "out.onnx", Options())
    assert caught.value.report.verification.status is Status.FAILED
    assert any(not item.passed for item in caught.value.report.verification.comparisons)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [step for step in STEPS if step != "simulating"])
def test_an_interruption_leaves_nothing_behind(tiny: Make, tmp_path: Path, step: str) -> None:
    model = tiny()

    def interrupt(begun: str) -> None:
        if begun == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_file(
            model.prototxt, model.caffemodel, tmp_path / "out.onnx", Options(), progress=interrupt
        )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_explained(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    model = tiny()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"can't write .*out.onnx: No space left on device"):
        run_conversion(model, tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_weights_and_unknown_layers_are_reported_together(
    tiny: Make, tmp_path: Path
) -> None:
    model = tiny()
    stored = weights.read(model.caffemodel)
    first, *_, last = stored
    rest = {name: blobs for name, blobs in stored.items() if name not in (first, last)}
    weights.write(model.caffemodel, "tiny", rest)
    with model.prototxt.open("a") as file:
        file.write('layer { name: "odd" type: "Nonsense" bottom: "data" top: "odd" }')
    with pytest.raises(CaffeError) as caught:
        run_conversion(model, tmp_path / "out.onnx")
    told = {problem.layer: problem.message for problem in caught.value.diagnostics}
    assert told.keys() == {first, last, "odd"}
    assert told[first] == told[last] == "no weights for it in the caffemodel"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (Options(mean=(1.0, 2.0)), UsageError, "--mean has 2 values, but the network takes 3"),
        (Options(channel_order=ChannelOrder.GRAY), UsageError, "does not fit a network of 3"),
        (Options(scale=0), UsageError, "--scale 0 is 0 in float32; it must not be 0"),
        (Options(scale=1e-60), UsageError, "--scale 1e-60 is 0 in float32"),
        (Options(mean=127.5), UsageError, r"mean 127.5 is not a tuple of numbers"),  # type: ignore[arg-type]
        (Options(mean="127"), UsageError, "mean '127' is not a tuple of numbers"),  # type: ignore[arg-type]
        (Options(class_names=("",)), UsageError, "--class-names has an empty name"),
        (Options(class_names=("\udcff",)), UsageError, r"--class-names '.udcff' is not UTF-8"),
        (Options(name=" "), UsageError, "--name is empty"),
        (Options(name="\udcff"), UsageError, r"--name '.udcff' is not UTF-8"),
        (Options(output=Kind.RAW, mean=(1.0,)), UsageError, "don't go with raw output"),
        (Options(class_names=("a", "b")), UsageError, "has 2 names, but the network has 1"),
        (Options(input_size=(20_000, 20)), ConversionError, "16384 pixels at most"),
    ],
)
def test_options_that_do_not_fit_the_model_are_explained(
    tiny: Make, tmp_path: Path, options: Options, error: type[SfdError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_conversion(tiny(), tmp_path / "out.onnx", options)
    assert not list(tmp_path.iterdir())


def test_an_output_must_be_a_new_file_in_a_folder(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    with pytest.raises(WriteError, match="there is no folder"):
        run_conversion(model, tmp_path / "missing" / "out.onnx")
    with pytest.raises(UsageError, match="is a folder"):
        run_conversion(model, tmp_path)
    with pytest.raises(UsageError, match="is one of the sources"):
        run_conversion(model, model.prototxt)
    assert model.prototxt.is_file()


@pytest.mark.parametrize("found", [None, SimpleNamespace(__version__="5.0.0")])
def test_without_opencv_4_a_file_is_unverified_and_says_so(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", found)
    report = run_conversion(tiny(), tmp_path / "out.onnx", Options())
    assert report.verification.status is Status.UNVERIFIED
    assert "pip install 'sfd[verify]'" in report.verification.reason
    assert report.metadata["sfd.verification"].startswith("unverified: install OpenCV 4")
    assert (tmp_path / "out.onnx").is_file()


def test_a_network_without_a_detector_can_only_be_raw(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    model.prototxt.write_text(text[: text.index('layer { name: "detection_out"')])
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.kind == "raw"
    assert set(report.outputs) == {"loc_flat", "conf_flat", "priors"}
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    with pytest.raises(UsageError, match="no DetectionOutput layer"):
        run_conversion(model, tmp_path / "heads.onnx", Options(output=Kind.HEADS))


def test_blobs_named_like_our_outputs_are_accepted(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    for old, new in (("conf_soft", "scores"), ("loc_perm", "boxes"), ("conf_perm", "images")):
        text = text.replace(f'"{old}"', f'"{new}"')
    text = text.replace('"data"', '"pixels"').replace('"loc_flat"', '"data"')
    model.prototxt.write_text(text)
    for kind in Kind:
        report = run_conversion(model, tmp_path / f"{kind}.onnx", Options(output=kind))
        assert report.verification.status is Status.VERIFIED, report.verification.reason
        assert report.input["name"] == ("data" if kind is Kind.RAW else "images")


def test_a_gray_network_takes_pictures_of_one_channel(
    tiny: Make, tmp_path: Path, filler: Callable[..., object]
) -> None:
    model = tiny()
    model.prototxt.write_text(model.prototxt.read_text().replace("dim: 3 ", "dim: 1 ", 1))
    weights.write(
        model.caffemodel,
        "gray",
        filler(model.prototxt, 4),  # type: ignore[arg-type]
    )
    report = run_conversion(model, tmp_path / "out.onnx", Options())
    assert report.input["shape"] == ["batch", 48, 64, 1]
    assert report.metadata["sfd.channel_order"] == "gray"
    assert report.verification.status is Status.VERIFIED, report.verification.reason


def test_reports_hold_neither_paths_nor_nan(tiny: Make, tmp_path: Path) -> None:
    report = run_conversion(tiny(), tmp_path / "out.onnx", Options())
    text = report.to_json()
    assert str(tmp_path) not in text
    assert "NaN" not in text
    assert "Infinity" not in text
    assert set(report.seconds) == {
        "reading", "hashing", "translating", "storing", "checking", "verifying", "writing"
    }  # fmt: skip


def test_warnings_of_the_sources_reach_the_report(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    stored = dict(weights.read(model.caffemodel))
    stored["surplus"] = (np.zeros(3, np.float32),)
    weights.write(model.caffemodel, "more", stored)
    report = run_conversion(model, tmp_path / "out.onnx")
    assert any("surplus" in warning for warning in report.warnings)
    assert isinstance(report.verification, Verification)
    assert network.load(model.prototxt, model.caffemodel).warnings


def with_landmarks(model: Files) -> None:
    """Let the network have another output, beside its detections."""
    text = model.prototxt.read_text()
    landmarks = 'layer { name: "marks" type: "TanH" bottom: "loc_flat" top: "marks" }\n'
    model.prototxt.write_text(text + landmarks)


def test_outputs_that_a_kind_has_no_place_for_are_named(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    with_landmarks(model)
    for kind in (Kind.HEADS, Kind.DETECTIONS):
        report = run_conversion(model, tmp_path / f"{kind}.onnx", Options(output=kind))
        (warning,) = report.warnings
        assert warning == (
            f"left out because {kind} have no place for them: marks; --output raw has all outputs"
        )
    report = run_conversion(model, tmp_path / "raw.onnx", Options(output=Kind.RAW))
    assert set(report.outputs) == {"detection_out", "marks"}
    assert not report.warnings


def test_detections_that_are_named_like_an_output_are_not_left_out(
    tiny: Make, tmp_path: Path
) -> None:
    model = tiny()
    with_landmarks(model)
    text = model.prototxt.read_text()
    for top in ("boxes", "scores", "detections"):
        model.prototxt.write_text(text.replace('top: "detection_out"', f'top: "{top}"'))
        for kind in (Kind.HEADS, Kind.DETECTIONS):
            (warning,) = run_conversion(model, tmp_path / "x.onnx", Options(output=kind)).warnings
            assert "have no place for them: marks; --output raw" in warning


def test_a_kind_may_be_given_by_its_name(tiny: Make, tmp_path: Path) -> None:
    options = Options(output="raw", verify=False)  # type: ignore[arg-type]
    model = tiny()
    report = run_conversion(model, tmp_path / "out.onnx", options)
    assert set(report.outputs) == {"detection_out"}
    explained = explain_file(model.prototxt, model.caffemodel, options)
    assert "detection_out" in str(explained)
    with pytest.raises(UsageError, match="'rows' is not one of heads, detections, raw"):
        run_conversion(tiny(), tmp_path / "rows.onnx", Options(output="rows"))  # type: ignore[arg-type]


def test_a_channel_order_may_be_given_by_its_name(tiny: Make, tmp_path: Path) -> None:
    options = Options(channel_order="rgb", verify=False)  # type: ignore[arg-type]
    report = run_conversion(tiny(), tmp_path / "out.onnx", options)
    assert report.metadata["sfd.channel_order"] == "rgb"
    assert report.metadata["sfd.mean"] == "123,117,104"
    wrong = Options(channel_order="gbr")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="channel order 'gbr' is not one of bgr, rgb, gray"):
        run_conversion(tiny(), tmp_path / "gbr.onnx", wrong)


def test_a_network_of_two_detectors_can_only_be_raw(tiny: Make, tmp_path: Path) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    start = text.index('layer { name: "detection_out"')
    model.prototxt.write_text(text + text[start:].replace('"detection_out"', '"more"'))
    for kind in (Kind.HEADS, Kind.DETECTIONS):
        message = (
            f"the network has several DetectionOutput layers, but {kind} need exactly one: "
            "only `sfd convert --output raw` takes it"
        )
        with pytest.raises(UsageError, match=message):
            run_conversion(model, tmp_path / "out.onnx", Options(output=kind))


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('bottom: "conf_flat"', "the fourth bottom is conf_flat, not the image"),
        ('bottom: "conf_flat" bottom: "loc_flat"', "has 5 bottoms: it refines boxes in two steps"),
    ],
)
def test_boxes_that_are_refined_twice_are_refused(
    tiny: Make, tmp_path: Path, more: str, expected: str, kind: Kind
) -> None:
    model = tiny()
    text = model.prototxt.read_text()
    last = text.index('layer { name: "detection_out"')
    model.prototxt.write_text(
        text[:last] + text[last:].replace('bottom: "priors"', f'bottom: "priors" {more}')
    )
    with pytest.raises(SfdError, match=expected):
        run_conversion(model, tmp_path / "out.onnx", Options(output=kind))
    assert not list(tmp_path.iterdir())
