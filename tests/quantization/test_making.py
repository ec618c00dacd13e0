"""The int8 file beside the float32 one: what it was made from and what it costs."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from detection.agreement import agrees, builtin_pictures
from detection.precision import Precision
from detection.providers import ProviderName
from detection.session import open_session
from quantization import making
from quantization.images import divide
from quantization.making import make
from sfd.files import sha256
from store import model as models
from store.build import build
from store.listing import card, data, examine, table
from store.model import Model


def test_the_record_says_what_the_file_was_made_from_and_what_it_costs(
    quantized: Model, images: Path
) -> None:
    made = models.check(quantized).int8
    assert made is not None
    assert made.sha256 == sha256(quantized.int8)
    assert made.source == sha256(quantized.onnx)
    digests = sorted(map(sha256, divide(images).calibrating))
    assert made.calibration.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()
    assert made.calibration.images == 15
    assert "MinMax" in made.calibration.method
    assert made.agreement.images == 5
    assert made.agreement.faces > 0
    assert made.speed.ratio == pytest.approx(made.speed.float32_ms / made.speed.int8_ms, rel=0.1)


def test_int8_is_served_only_if_it_is_asked_for(quantized: Model) -> None:
    served = {
        precision: open_session(quantized, ProviderName.CPU, 1, 1, precision=precision)
        for precision in (Precision.FLOAT32, Precision.INT8)
    }
    assert served[Precision.FLOAT32].sha256 == sha256(quantized.onnx)
    assert served[Precision.INT8].sha256 == sha256(quantized.int8)
    picture = builtin_pictures(quantized)[0]
    float32, int8 = (session.run([picture])[0].scores for session in served.values())
    assert not np.array_equal(float32, int8)


def test_the_default_models_faces_agree_with_float32(
    built_model: Path, tmp_path: Path, images: Path
) -> None:
    folder = tmp_path / built_model.parent.name
    folder.mkdir()
    for file in built_model.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.int8.onnx").unlink(missing_ok=True)
    model = models.load(folder)
    made = make(model, divide(images))
    assert made.agreement.matched == 1
    assert made.agreement.iou_p5 > 0.8
    reference, int8 = (
        open_session(model, ProviderName.CPU, 2, 1, precision=precision)
        for precision in (Precision.FLOAT32, Precision.INT8)
    )
    pictures = builtin_pictures(model)
    assert agrees(
        model,
        Precision.INT8,
        [reference.run([each])[0] for each in pictures],
        [int8.run([each])[0] for each in pictures],
    )


def test_an_existing_file_is_overwritten_only_with_force(quantized: Model, images: Path) -> None:
    before = quantized.int8.read_bytes()
    quantized.int8.write_bytes(b"mine")
    with pytest.raises(models.ModelError, match="already exists; add --force"):
        make(quantized, divide(images))
    assert quantized.int8.read_bytes() == b"mine"
    make(quantized, divide(images), force=True)
    assert quantized.int8.read_bytes() == before


def test_a_file_that_is_no_image_is_named_and_nothing_is_written(
    built: Model, images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with-a-broken-one"
    folder.mkdir()
    for file in images.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "broken.jpg").write_text("no image")
    with pytest.raises(models.ModelError, match=r"broken\.jpg: .*; remove it from the folder"):
        make(built, divide(folder))
    assert not built.int8.exists()
    assert models.read_build(built).int8 is None


def test_a_processor_without_int8_is_refused(
    built: Model, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "processor_features", lambda: frozenset({"avx2"}))
    with pytest.raises(models.ModelError, match="can't be measured here: int8 needs a processor"):
        make(built, divide(images))


def test_another_float32_file_makes_the_int8_file_out_of_date(quantized: Model) -> None:
    text = (quantized.folder / "model.toml").read_text("utf-8").replace("104.0", "100.0")
    (quantized.folder / "model.toml").write_text(text, "utf-8")
    changed = models.load(quantized.folder)
    build(changed, verify=False)
    row = examine(changed.folder)
    assert row.state == "ready"
    assert "was made from another model.onnx; run `sfd models quantize tiny" in row.problem


def test_building_again_forgets_an_int8_file_that_was_deleted(quantized: Model) -> None:
    quantized.int8.unlink()
    build(quantized, verify=False)
    assert models.read_build(quantized).int8 is None


def test_building_the_same_file_again_keeps_the_int8_file(quantized: Model) -> None:
    build(quantized, verify=False)
    assert examine(quantized.folder).problem == ""


def test_list_show_and_json_know_the_int8_file(quantized: Model) -> None:
    row = examine(quantized.folder)
    assert (row.state, row.problem) == ("ready", "")
    assert f"model.int8.onnx, sha256 {sha256(quantized.int8)}" in card(row)
    assert "calibrated on 15 images" in card(row)
    assert data(row)["build"]["int8"]["calibration"]["images"] == 15
    quantized.int8.write_bytes(b"other")
    broken = examine(quantized.folder)
    assert broken.state == "ready"
    assert "model.int8.onnx: does not match its sha256" in table([broken])


def test_a_model_without_an_int8_file_does_not_mention_it(built: Model) -> None:
    assert "int8" not in (built.folder / "build.json").read_text("utf-8")
    assert "model.int8.onnx" not in card(examine(built.folder))
