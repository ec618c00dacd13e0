"""Real models, and the largest architecture of the family, through the whole conversion."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from convert.caffe import weights
from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.report import Report, Status
from geometry.arrays import F32, U8


class Files(Protocol):
    """The two files of a model."""

    prototxt: Path
    caffemodel: Path


SAMPLE = Path(__file__).resolve().parents[2] / "service" / "static" / "sample.jpg"
DETECTORS = [
    "sfd-320-mod5-nobn",
    "sfd-320-mod5-bn",
    "sfd-320-mod11l",
    "sfd-320-mod11e",
    "sfd-320-mod11g",
]
KINDS = [
    *((name, Kind.HEADS) for name in DETECTORS),
    # The other kinds are made alike of all of them, so one of each family is enough.
    *((name, kind) for name in ("sfd-320-mod5-bn", "sfd-320-mod11l") for kind in Kind
      if kind is not Kind.HEADS),
]  # fmt: skip
"""The detectors, and what their files give out."""


@pytest.fixture(autouse=True)
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Neither OpenCV nor onnxruntime prints a warning, and nor do we."""
    yield
    assert capfd.readouterr() == ("", "")


def check(report: Report, path: Path) -> None:
    """A verified report, and a file of standard operators whose only input is the image."""
    assert report.verification.status is Status.VERIFIED, report.verification.reason
    assert report.verification.comparisons
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    noise = np.random.default_rng(0).integers(0, 256, (2, *image.shape[1:]), np.uint8)
    raw = image.name == "data"
    session.run(None, {image.name: noise.astype(np.float32) if raw else noise})
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert len(model.graph.input) == 1
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    metadata = {item.key: item.value for item in model.metadata_props}
    assert metadata["sfd.verification"] == "verified"


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        *((name, 320, kind) for name, kind in KINDS),
        # Another size is handled alike in all of them, so two and a small size are enough.
        ("sfd-320-mod5-bn", 384, Kind.HEADS),
        ("sfd-320-mod11g", 384, Kind.HEADS),
    ],
)
def test_a_published_detector_converts_verified(
    shared: Path, tmp_path: Path, name: str, size: int, kind: Kind
) -> None:
    folder, output = shared / "models" / "upstream" / name, tmp_path / "model.onnx"
    own_size = 320
    options = Options(output=kind, input_size=None if size == own_size else (size, size))
    report = convert_file(
        folder / "deploy.prototxt", folder / "weights.caffemodel", output, options
    )
    check(report, output)
    expected = {
        Kind.HEADS: {"boxes", "scores"},
        Kind.DETECTIONS: {"detections"},
        Kind.RAW: {"detection_out"},
    }
    assert set(report.outputs) == expected[kind]
    assert report.input["shape"] == (
        ["batch", 3, size, size] if kind is Kind.RAW else ["batch", size, size, 3]
    )


def portraits(side: int) -> U8:
    """[7, S, S, 3] RGB: one portrait, shifted, mirrored, brightened and upside down."""
    with Image.open(SAMPLE) as opened:
        picture = np.asarray(opened.convert("RGB").resize((side, side)))
    brighter = np.minimum(picture.astype(np.int32) * 3 // 2, 255).astype(np.uint8)
    shifted = [np.roll(picture, (side // share, 9), (0, 1)) for share in (8, -8, 16)]
    return np.stack([picture, picture[:, ::-1], *shifted, brighter, picture[::-1]])


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_batch_of_seven_gives_the_rows_of_seven_batches_of_one(
    shared: Path, tmp_path: Path, name: str, kind: Kind
) -> None:
    folder, output = shared / "models" / "upstream" / name, tmp_path / "model.onnx"
    options = Options(output=kind, verify=False)
    convert_file(folder / "deploy.prototxt", folder / "weights.caffemodel", output, options)
    session = onnxruntime.InferenceSession(output, providers=["CPUExecutionProvider"])
    images: NDArray[np.generic] = portraits(320)
    if kind is Kind.RAW:
        blue_first = images[..., ::-1].astype(np.float32) - np.asarray([104, 117, 123], np.float32)
        images = np.ascontiguousarray(blue_first.transpose(0, 3, 1, 2))
    [entry] = session.get_inputs()
    together = session.run(None, {entry.name: images})
    for index in range(7):
        alone = session.run(None, {entry.name: images[index : index + 1]})
        for several, one in zip(together, alone, strict=True):
            if kind is Kind.HEADS:
                rows, single = several[index], one[0]
            else:
                # One list for the whole batch; its first column is the image's index.
                rows, single = several.reshape(-1, 7), one.reshape(-1, 7)[:, 1:]
                rows = rows[rows[:, 0] == index, 1:]
            assert rows.shape == single.shape
            assert len(rows)
            assert np.abs(rows - single).max() <= 1e-5


def test_a_published_classifier_converts_verified(shared: Path, tmp_path: Path) -> None:
    folder, output = shared / "models" / "upstream" / "imagenet-mod11e", tmp_path / "model.onnx"
    report = convert_file(folder / "deploy.prototxt", folder / "weights.caffemodel", output)
    check(report, output)
    assert (report.kind, report.outputs) == ("raw", {"prob": ["batch", 1000, 1, 1]})


@pytest.mark.parametrize("kind", Kind)
def test_our_first_weights_convert_verified(shared: Path, tmp_path: Path, kind: Kind) -> None:
    """At half of their size, to save time: `make models` converts the same network at 640."""
    report = convert_file(
        shared / "models" / "reference" / "sfd-640-mod2" / "deploy.prototxt",
        shared / "models" / "first-weights" / "sfd-640-mobilenetv2-mod2.caffemodel",
        tmp_path / "model.onnx",
        Options(output=kind, input_size=(320, 320)),
    )
    check(report, tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", Kind)
def test_opencvs_own_face_detector_converts_verified(
    res10: Files, tmp_path: Path, kind: Kind
) -> None:
    model, output = res10, tmp_path / "model.onnx"
    report = convert_file(model.prototxt, model.caffemodel, output, Options(output=kind))
    check(report, output)


def test_vgg_with_random_weights_converts_verified(
    shared: Path, tmp_path: Path, filler: Callable[..., Mapping[str, list[F32]]]
) -> None:
    """As the default kind alone and at 128 pixels, to save minutes: the others have all kinds."""
    prototxt = shared / "models" / "reference" / "sfd-640-vgg" / "deploy.prototxt"
    caffemodel, output = tmp_path / "random.caffemodel", tmp_path / "model.onnx"
    weights.write(caffemodel, "vgg", filler(prototxt, 7))
    options = Options(output=Kind.HEADS, input_size=(128, 128))
    check(convert_file(prototxt, caffemodel, output, options), output)
