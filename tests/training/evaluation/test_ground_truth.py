"""Ground truth of each format is read for the images that are present."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data import dataset
from training.data.wider import GroundTruthError
from training.evaluation import attributes, ground_truth
from training.evaluation.curves import Detections

EMPTY = Detections(np.zeros((0, 4)), np.zeros(0))


def test_the_images_of_wider_text_that_are_held_out_are_the_ones_that_training_holds_out(
    tmp_path: Path,
) -> None:
    names = [f"0--Parade/{number}.jpg" for number in range(40)]
    (tmp_path / "0--Parade").mkdir()
    for name in names:
        (tmp_path / name).touch()
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text("".join(f"{name}\n1\n1 2 30 40 0 0 0 0 0 0\n" for name in names))
    held_out = dataset.split(dataset.read(path, tmp_path), 0.3)[1]
    assert 0 < len(held_out) < 40
    assert ground_truth.read(path, tmp_path, 0.3).files == [each.path for each in held_out]
    with pytest.raises(GroundTruthError, match="a share of 0 holds out no image"):
        ground_truth.read(path, tmp_path, 0.0)


def test_missing_and_unlabelled_images_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "c.jpg").touch()
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image": "a.jpg", "boxes": [[1, 2, 3, 4]]}\n'
        '{"image": "b.jpg", "boxes": []}\n'
        '{"image": "c.jpg", "boxes": null}\n'
    )
    read = ground_truth.read(path, tmp_path)
    assert (read.files, read.missing) == ([tmp_path / "a.jpg"], 1)
    assert [boxes.tolist() for boxes in read.boxes] == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize(
    ("held_out", "says"),
    [(None, "no image has labels"), (0.99, "no image of the held-out share has labels")],
)
def test_a_list_without_labels_is_refused_as_such(
    tmp_path: Path, held_out: float | None, says: str
) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg", "boxes": null}\n')
    with pytest.raises(GroundTruthError, match=says):
        ground_truth.read(tmp_path / "list.jsonl", tmp_path, held_out)


def test_the_rules_follow_the_format(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg", "boxes": []}\n')
    (tmp_path / "gt.txt").write_text("a.jpg\n1\n1 2 30 40 0 0 0 0 0 0\n")
    assert list(ground_truth.read(tmp_path / "list.jsonl", tmp_path).curves([EMPTY])) == ["all"]
    assert list(ground_truth.read(tmp_path / "gt.txt", tmp_path).curves([EMPTY])) == ["hard"]


def test_a_folder_without_the_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"image": "a.jpg", "boxes": []}\n')
    with pytest.raises(GroundTruthError, match=r"none of the images .* check --images"):
        ground_truth.read(tmp_path / "list.jsonl", tmp_path / "elsewhere")


def test_an_image_without_faces_may_have_a_blank_line_for_them(tmp_path: Path) -> None:
    for name in ("none", "some"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.jpg")
    labels = tmp_path / "wider_face_val_bbx_gt.txt"
    labels.write_text("none.jpg\n0\n\nsome.jpg\n1\n1 2 30 40 2 0 1 0 1 0\n")
    read = ground_truth.read(labels, tmp_path)
    assert [len(each["blur"]) for each in read.attributes] == [0, 1]
    assert read.attributes[1]["blur"].tolist() == [2]
    assert read.attributes[1]["occlusion"].tolist() == [1]


def test_a_column_of_attributes_for_other_faces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    labels = tmp_path / "gt.txt"
    labels.write_text("a.jpg\n1\n1 2 30 40 0 0 0 0 0 0\n")
    monkeypatch.setattr(attributes, "of_text", lambda _: {"blur": np.zeros(2, np.int64)})
    with pytest.raises(GroundTruthError, match="a has 1 faces, but 2 values of blur"):
        ground_truth.read(labels, tmp_path)
