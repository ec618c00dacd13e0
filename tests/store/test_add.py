import os
from pathlib import Path
from typing import Protocol

import pytest

from convert.options import Options
from sfd.errors import SfdError
from sfd.files import sha256
from store import model
from store.add import Card, add
from store.build import is_built
from store.model import ModelError


class Detector(Protocol):
    prototxt: Path
    caffemodel: Path


UNVERIFIED = Options(verify=False)


def test_an_added_model_is_verified_and_described_by_its_own_files(
    store: Path, detector: Detector
) -> None:
    added = add(store, "mine", detector.prototxt, detector.caffemodel)
    assert model.check(added).verification == "verified"
    assert is_built(added)
    assert (added.input.height, added.input.width) == (64, 64)
    assert added.input.mean == (104, 117, 123)
    assert added.classes == ("face",)
    assert added.thresholds == model.Thresholds(0.5, 0.3, 5000, 750)
    assert added.origin == "added from tiny.prototxt and tiny.caffemodel"
    assert [path.name for path in store.iterdir()] == ["mine"]


def test_an_added_model_with_wide_values_has_a_file_for_cpus(
    store: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.partition.PART_BYTES", 1)
    monkeypatch.setattr("convert.partition.MOST_CHANNELS", 16)
    added = add(store, "mine", detector.prototxt, detector.caffemodel)
    assert model.check(added).cpu == sha256(added.cpu_onnx)


def test_a_threshold_above_1_becomes_1(store: Path, detector: Detector, tmp_path: Path) -> None:
    text = detector.prototxt.read_text()
    assert "nms_threshold: 0.3" in text
    edited = tmp_path / "edited.prototxt"
    edited.write_text(text.replace("nms_threshold: 0.3", "nms_threshold: 1.5"))
    added = add(store, "mine", edited, detector.caffemodel)
    assert added.thresholds.nms_iou == 1


def test_a_detector_that_cannot_be_served_is_not_added(store: Path, of_three: Detector) -> None:
    with pytest.raises(ModelError, match="detects 3 classes, but the service serves"):
        add(store, "mine", of_three.prototxt, of_three.caffemodel, options=UNVERIFIED)
    assert list(store.iterdir()) == []


def test_a_network_that_is_no_detector_is_not_added(
    store: Path, detector: Detector, tmp_path: Path
) -> None:
    text = detector.prototxt.read_text()
    classifier = tmp_path / "classifier.prototxt"
    classifier.write_text(text.replace('"DetectionOutput"', '"Silence"'))
    assert classifier.read_text() != text
    with pytest.raises(ModelError) as caught:
        add(store, "mine", classifier, detector.caffemodel, options=UNVERIFIED)
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"{classifier}: the network has no DetectionOutput layer, but heads need exactly one: "
        "only `sfd convert --output raw` takes it"
    )
    assert list(store.iterdir()) == []


def test_the_options_appear_in_the_description(store: Path, detector: Detector) -> None:
    options = Options(
        input_size=(32, 48), mean=(1, 2.5, 3), scale=0.5, class_names=("head",), verify=False
    )
    card = Card(title="Heads", licence="CC0", origin="my garage", default_score=0.25)
    added = add(store, "heads", detector.prototxt, detector.caffemodel, options=options, card=card)
    assert added.title == "Heads"
    assert (added.licence, added.origin) == ("CC0", "my garage")
    assert (added.input.height, added.input.width) == (32, 48)
    assert (added.input.mean, added.input.scale) == ((1, 2.5, 3), 0.5)
    assert added.classes == ("head",)
    assert added.thresholds.default_score == 0.25
    assert is_built(added)


@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("prototxt", b"layer {"),
        ("prototxt", b"no prototxt at all"),
        ("prototxt", b'name: "empty"'),
        ("caffemodel", b""),
        ("caffemodel", b"\xff" * 100),
    ],
)
def test_files_that_are_not_a_detector_leave_nothing(
    store: Path, detector: Detector, tmp_path: Path, which: str, content: bytes
) -> None:
    broken = tmp_path / f"broken.{which}"
    broken.write_bytes(content)
    files = {"prototxt": detector.prototxt, "caffemodel": detector.caffemodel, which: broken}
    with pytest.raises(SfdError):
        add(store, "mine", files["prototxt"], files["caffemodel"], options=UNVERIFIED)
    assert list(store.iterdir()) == []


def test_missing_files_leave_nothing(store: Path, detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(SfdError, match="nowhere"):
        add(store, "mine", detector.prototxt, tmp_path / "nowhere", options=UNVERIFIED)
    assert list(store.iterdir()) == []


def test_a_name_that_is_taken_is_refused_before_any_work(
    built: model.Model, store: Path, tmp_path: Path
) -> None:
    before = built.onnx.stat().st_mtime_ns
    with pytest.raises(ModelError, match="tiny exists already; choose another name, or delete"):
        add(store, "tiny", tmp_path / "nowhere", tmp_path / "nowhere")
    assert built.onnx.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "Upper", ""])
def test_a_name_that_is_a_path_is_refused(store: Path, detector: Detector, name: str) -> None:
    with pytest.raises(ModelError, match="is not a model name"):
        add(store, name, detector.prototxt, detector.caffemodel)
    assert list(store.iterdir()) == []


def test_a_source_may_have_a_name_that_is_not_utf_8(
    store: Path, detector: Detector, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"\xfe.prototxt")
    odd.write_bytes(detector.prototxt.read_bytes())
    added = add(store, "mine", odd, detector.caffemodel, options=UNVERIFIED)
    assert added.origin == f"added from ?.prototxt and {detector.caffemodel.name}"


def test_a_missing_store_is_created(tmp_path: Path, detector: Detector) -> None:
    new = tmp_path / "deep" / "store"
    add(new, "mine", detector.prototxt, detector.caffemodel, options=UNVERIFIED)
    assert [path.name for path in model.find(new)] == ["mine"]


def test_a_store_that_cannot_be_created_is_explained(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="mine cannot be written: Not a directory"):
        add(tmp_path / "file/store", "mine", detector.prototxt, detector.caffemodel)


def test_real_published_models_can_be_added_at_another_size(store: Path, shared: Path) -> None:
    folder = shared / "models/upstream/sfd-320-mod5-nobn"
    added = add(
        store,
        "mod5",
        folder / "deploy.prototxt",
        folder / "weights.caffemodel",
        options=Options(input_size=(640, 640), verify=False),
    )
    assert (added.input.height, added.input.width) == (640, 640)
    model.check(added)
