"""Lists of photographs, good and bad."""

from pathlib import Path

import pytest

from training.photographs import DatasetError, read, split


def test_json_lines_tell_marked_empty_and_unmarked_photographs_apart(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image": "a.jpg", "width": 9, "height": 9, "boxes": [[1, 2, 3, 4]]}\n\n'
        '{"image": "b.jpg", "boxes": []}\n'
        '{"image": "c.jpg", "boxes": null}\n'
    )
    marked, empty, unmarked = read(path)
    assert marked.path == tmp_path / "a.jpg"
    assert marked.boxes is not None
    assert marked.boxes.tolist() == [[1, 2, 3, 4]]
    assert empty.boxes is not None
    assert empty.boxes.shape == (0, 4)
    assert unmarked.boxes is None


@pytest.mark.parametrize(
    "line", ["[]", "{", '{"image": "a.jpg"}', '{"image": "a.jpg", "boxes": [[1, 2]]}']
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"image": "a.jpg", "boxes": []}}\n{line}\n')
    with pytest.raises(DatasetError, match="line 2"):
        read(path)


@pytest.mark.parametrize("name", ["list.jsonl", "list.txt"])
def test_an_empty_list_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(DatasetError, match="no photographs"):
        read(tmp_path / name)


def test_wider_text_gives_corners_without_invalid_faces(tmp_path: Path) -> None:
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text("a/b.jpg\n2\n1 2 30 40 0 0 0 0 0 0\n5 6 7 8 0 0 0 1 0 0\n")
    (photograph,) = read(path, tmp_path / "images")
    assert photograph.path == tmp_path / "images/a/b.jpg"
    assert photograph.boxes is not None
    assert photograph.boxes.tolist() == [[1, 2, 31, 42]]


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = [f'{{"image": "{number}.jpg", "boxes": []}}' for number in range(200)]
    path.write_text("\n".join(lines))
    kept, held_out = split(read(path), 0.25)
    path.write_text("\n".join(reversed(lines)))
    again = split(read(path), 0.25)[1]
    assert {each.name for each in held_out} == {each.name for each in again}
    assert len(kept) + len(held_out) == 200
    assert 30 < len(held_out) < 70
