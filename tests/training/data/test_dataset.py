"""Datasets are read from good lists, and bad lists are refused."""

from pathlib import Path

import pytest

from sfd.errors import SfdError
from training.data.dataset import read, split
from training.data.images import DatasetError


def test_json_lines_distinguish_labelled_empty_and_unlabelled_images(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image": "a.jpg", "width": 9, "height": 9, "boxes": [[1, 2, 3, 4]]}\n\n'
        '{"image": "b.jpg", "boxes": []}\n'
        '{"image": "c.jpg", "boxes": null}\n'
    )
    labelled, empty, unlabelled = read(path)
    assert labelled.path == tmp_path / "a.jpg"
    assert labelled.boxes is not None
    assert labelled.boxes.tolist() == [[1, 2, 3, 4]]
    assert empty.boxes is not None
    assert empty.boxes.shape == (0, 4)
    assert unlabelled.boxes is None


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"image": "a.jpg"}',
        '{"image": "a.jpg", "boxes": [[1, 2]]}',
        # A polygon, a score beside each box, not a number, swapped corners, no size.
        '{"image": "a.jpg", "boxes": [[1, 2, 11, 2, 11, 22, 1, 22]]}',
        '{"image": "a.jpg", "boxes": [[1, 2, 3, 4, 0.9, 1], [5, 6, 7, 8, 0.8, 1]]}',
        '{"image": "a.jpg", "boxes": [1, 2, 3, 4]}',
        '{"image": "a.jpg", "boxes": [[1, NaN, 3, 4]]}',
        '{"image": "a.jpg", "boxes": [[3, 2, 1, 4]]}',
        '{"image": "a.jpg", "boxes": [[1, 2, 1, 2]]}',
        # A box without numbers is no image without faces. Texts and truth values are no numbers.
        '{"image": "a.jpg", "boxes": [[]]}',
        '{"image": "a.jpg", "boxes": ""}',
        '{"image": "a.jpg", "boxes": [["1", "2", "3", "4"]]}',
        '{"image": "a.jpg", "boxes": [[false, false, true, true]]}',
        '{"image": "a.jpg", "boxes": [[1, 2, 1e39, 4]]}',
        f'{{"image": "a.jpg", "boxes": [[1.5, 2, 3, 1{"0" * 400}]]}}',
        '{"image": "a.jpg", "boxes": [[1, 2, 3, null]]}',
        '{"image": 5, "boxes": []}',
        r'{"image": "\ud800.jpg", "boxes": []}',
        f'{{"image": "a.jpg", "boxes": [[1, 2, 3, 1{"0" * 400}]]}}',
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"image": "a.jpg", "boxes": []}}\n{line}\n')
    with pytest.raises(DatasetError, match="line 2"):
        read(path)


def test_a_line_ends_only_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(
        '{"image": "a\u2028\x85b.jpg", "boxes": []}\r\n{"image": "c.jpg", "boxes": []}\r\n',
        encoding="utf-8",
    )
    assert [each.name for each in read(path)] == ["a\u2028\x85b.jpg", "c.jpg"]


@pytest.mark.parametrize("name", ["list.jsonl", "list.txt"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_list_in_another_encoding_than_utf_8_is_refused(
    tmp_path: Path, name: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_text('{"image": "Köln.jpg", "boxes": []}\n', encoding=encoding)
    with pytest.raises(SfdError, match=r"list\.\w+: is not UTF-8 text.*save it as UTF-8"):
        read(path)


@pytest.mark.parametrize("name", ["list.jsonl", "list.txt"])
def test_an_empty_list_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(DatasetError, match="lists no images"):
        read(tmp_path / name)


def test_wider_text_gives_corners_without_invalid_faces(tmp_path: Path) -> None:
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text("a/b.jpg\n2\n1 2 30 40 0 0 0 0 0 0\n5 6 7 8 0 0 0 1 0 0\n")
    (image,) = read(path, tmp_path / "images")
    assert image.path == tmp_path / "images/a/b.jpg"
    assert image.boxes is not None
    assert image.boxes.tolist() == [[1, 2, 31, 42]]


def test_an_image_with_only_invalid_faces_is_not_labelled(tmp_path: Path) -> None:
    """It is not an image without faces, in which a detection would be wrong."""
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text(
        "a/b.jpg\n2\n1 2 30 40 0 0 0 1 0 0\n5 6 7 8 0 0 0 1 0 0\na/c.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    unknown, empty = read(path)
    assert unknown.boxes is None
    assert empty.boxes is not None
    assert empty.boxes.shape == (0, 4)


def test_the_split_depends_only_on_names(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    lines = [f'{{"image": "{number}.jpg", "boxes": []}}' for number in range(200)]
    path.write_text("\n".join(lines))
    kept, held_out = split(read(path), 0.25)
    path.write_text("\n".join(reversed(lines)))
    again = split(read(path), 0.25)[1]
    assert {each.name for each in held_out} == {each.name for each in again}
    assert len(kept) + len(held_out) == 200
    assert 30 < len(held_out) < 70


@pytest.mark.parametrize(
    ("name", "text"),
    [("list.jsonl", '{"image": "a.jpg", "boxes": []}\n'), ("list.txt", "a.jpg\n0\n0 0 0 0\n")],
)
def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert [each.name for each in read(path)] == ["a.jpg"]
