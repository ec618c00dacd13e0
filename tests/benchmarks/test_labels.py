"""Pictures that nobody has labelled get the boxes on which detectors agree."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from benchmarks import downloads
from benchmarks.labels import Found, Labeller, fuse, main, read
from geometry.boxes import iou
from sfd.errors import SfdError

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "service/static/sample.jpg"
YUNET = "models/teachers/yunet-n/yunet_n_dynamic.onnx"


def found(*rows: tuple[float, float, float, float, float]) -> Found:
    values = np.asarray(rows, np.float32).reshape(-1, 5)
    return values[:, :4], values[:, 4]


def labellers(count: int = 3) -> list[Labeller]:
    return [Labeller(lambda picture: found(), low=0.4, sure=0.7)] * count


def test_two_that_agree_are_enough_if_one_is_sure() -> None:
    boxes = fuse([found((0, 0, 10, 10, 0.75)), found((0, 0, 10, 12, 0.5)), found()], labellers())
    assert boxes == pytest.approx(np.asarray([[0, 0, 10, 10.8]]))


@pytest.mark.parametrize(
    "seen",
    [
        [found((0, 0, 10, 10, 0.99)), found(), found()],  # One alone.
        [found((0, 0, 10, 10, 0.6)), found((0, 0, 10, 10, 0.6)), found()],  # Nobody is sure.
        [found((0, 0, 10, 10, 0.9)), found((0, 0, 10, 10, 0.3)), found()],  # One is below `low`.
        [found((0, 0, 10, 10, 0.9)), found((8, 8, 20, 20, 0.9)), found()],  # Two faces.
        [found((0, 0, 5, 5, 0.9)), found((0, 0, 5, 5, 0.9)), found()],  # Too small.
        [found((0, 0, 10, 10, 0.9), (0, 0, 10, 11, 0.8)), found(), found()],  # One, twice.
    ],
)
def test_other_boxes_are_no_labels(seen: list[Found]) -> None:
    assert len(fuse(seen, labellers())) == 0


def test_a_face_is_seen_at_a_larger_scale_too() -> None:
    sizes: list[tuple[int, int]] = []

    def find(picture: Image.Image) -> Found:
        sizes.append(picture.size)
        scale = picture.width / 300
        return found((10 * scale, 20 * scale, 40 * scale, 60 * scale, 0.9))

    boxes, scores = Labeller(find, 0.4, 0.7).detect(Image.new("RGB", (300, 200)))
    assert sizes == [(300, 200), (600, 400)]
    assert boxes == pytest.approx(np.asarray([[10, 20, 40, 60]]))
    assert scores == pytest.approx([0.9])


def test_only_unlabelled_pictures_get_new_boxes(
    shared: Path,
    built_model: Path,
    tmp_path: Path,
    missing: Callable[[str], NoReturn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        downloads.CENTERFACE.fetch()
    except SfdError as error:
        missing(str(error))
    rows = [{"image": SAMPLE.name, "boxes": None}, {"image": "no.jpg", "boxes": [[1, 2, 3, 4]]}]
    listed, output = tmp_path / "list.jsonl", tmp_path / "labelled.jsonl"
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = ["--annotations", str(listed), "--images", str(SAMPLE.parent),
               "--yunet", str(shared / YUNET), "--store", str(built_model.parent.parent),
               "--model", built_model.parent.name, "--output", str(output)]  # fmt: skip
    assert main(command) == 0
    first, second = map(json.loads, output.read_text().splitlines())
    assert second == rows[1]
    face = np.asarray([[180, 62, 272, 177]], np.float32)
    assert len(first["boxes"]) == 1
    assert iou(face, np.asarray(first["boxes"], np.float32))[0, 0] > 0.6

    assert main(command) == 2
    assert "already exists" in capsys.readouterr().err


def test_a_line_that_is_no_annotation_is_named(tmp_path: Path) -> None:
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"image": "a.jpg", "boxes": null}\n{"image": "b.jpg"}\n')
    with pytest.raises(SfdError, match=r"list\.jsonl:2: is not"):
        read(listed)
