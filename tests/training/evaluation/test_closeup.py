"""Photographs of one face, cut so that it fills the frame."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfd.errors import SfdError
from training.evaluation import closeup
from training.evaluation.curves import Detections


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list with one image that fits: others have two faces, a small one, a wide one, or none."""
    boxes: dict[str, list[list[float]] | None] = {
        "fits.png": [[300, 200, 400, 330]],
        "two.png": [[300, 200, 400, 330], [0, 0, 90, 130]],
        "small.png": [[300, 200, 380, 300]],
        "wide.png": [[300, 200, 440, 330]],
        "empty.png": [],
        "unknown.png": None,
    }
    for name in boxes:
        Image.new("RGB", (800, 600), (90, 90, 90)).save(tmp_path / name)
    boxes["away.png"] = [[300, 200, 400, 330]]
    lines = [json.dumps({"image": name, "boxes": each}) for name, each in boxes.items()]
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_only_images_with_one_clear_face_are_chosen(listed: Path) -> None:
    faces = closeup.choose(listed, listed.parent)
    assert [each.path.name for each in faces] == ["fits.png"]


def test_a_list_without_such_a_face_is_refused(listed: Path) -> None:
    listed.write_text('{"image": "empty.png", "boxes": []}')
    with pytest.raises(SfdError, match=r"no image in .* has one single face"):
        closeup.choose(listed, listed.parent)


def test_a_share_that_holds_out_no_image_is_refused_as_such(listed: Path) -> None:
    with pytest.raises(SfdError, match="a share of 0 holds out no image; give a larger --held-out"):
        closeup.choose(listed, listed.parent, 0.0)


def test_a_face_outside_of_its_picture_is_named(listed: Path) -> None:
    listed.write_text('{"image": "fits.png", "boxes": [[800, 200, 900, 330]]}')
    (face,) = closeup.choose(listed, listed.parent)
    with pytest.raises(SfdError, match=r"fits\.png: has 800 x 600 pixels, but a face at \[800\.0"):
        closeup.cut(face, 0.6, listed.parent / "cut.png")


@pytest.mark.parametrize("share", closeup.SHARES)
def test_the_face_takes_its_share_of_the_height(listed: Path, share: float) -> None:
    (face,) = closeup.choose(listed, listed.parent)
    target = listed.parent / "cut.png"
    box, rows = closeup.cut(face, share, target)
    with Image.open(target) as image:
        width, height = image.size
    assert rows == height
    # The picture has 600 rows, so a share of 0.2 is cut off at its edges.
    assert (box[3] - box[1]) / height == pytest.approx(max(share, 130 / 600), abs=0.01)
    assert 0 <= box[0] < box[2] <= width
    assert box[2] - box[0] == 100


def test_found_faces_and_boxes_are_counted_at_the_score(listed: Path) -> None:
    faces = closeup.choose(listed, listed.parent)

    def whole_picture(files: Sequence[Path]) -> list[Detections]:
        found = []
        for file in files:
            with Image.open(file) as image:
                box = [0, 0, *image.size]
            found.append(Detections(np.asarray([box, box], np.float64), np.asarray([0.9, 0.4])))
        return found

    rows = closeup.measure(faces, 0.5, whole_picture)
    assert [row["share"] for row in rows] == list(closeup.SHARES)
    real = [130 / 600, 0.4, 0.6, 0.8, 0.95]
    assert [row["median_share"] for row in rows] == pytest.approx(real, abs=0.01)
    assert [row["boxes"] for row in rows] == [1.0] * 5
    # The whole picture is the face where that takes more than about two thirds of the height.
    assert [row["found"] for row in rows] == [0, 0, 0, 0, 1.0]
    assert [row["boxes"] for row in closeup.measure(faces, 0.3, whole_picture)] == [2.0] * 5
