"""Lists of photographs, good and bad."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection import images
from detection.errors import RequestError
from sfd.errors import SfdError
from training.data import dataset
from training.data.dataset import DatasetError, opened, read, split, upright, upright_size


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
    "line",
    [
        "[]",
        "{",
        '{"image": "a.jpg"}',
        '{"image": "a.jpg", "boxes": [[1, 2]]}',
        # A polygon, a score beside each box, a number that is none, corners the wrong way round.
        '{"image": "a.jpg", "boxes": [[1, 2, 11, 2, 11, 22, 1, 22]]}',
        '{"image": "a.jpg", "boxes": [[1, 2, 3, 4, 0.9, 1], [5, 6, 7, 8, 0.8, 1]]}',
        '{"image": "a.jpg", "boxes": [1, 2, 3, 4]}',
        '{"image": "a.jpg", "boxes": [[1, NaN, 3, 4]]}',
        '{"image": "a.jpg", "boxes": [[3, 2, 1, 4]]}',
        f'{{"image": "a.jpg", "boxes": [[1, 2, 3, 1{"0" * 400}]]}}',
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(f'{{"image": "a.jpg", "boxes": []}}\n{line}\n')
    with pytest.raises(DatasetError, match="line 2"):
        read(path)


@pytest.mark.parametrize("name", ["list.jsonl", "list.txt"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_list_in_another_encoding_than_utf_8_is_refused(
    tmp_path: Path, name: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_text('{"image": "Köln.jpg", "boxes": []}\n', encoding=encoding)
    with pytest.raises(SfdError, match=r"list\.\w+: is no UTF-8 text.*save it as UTF-8"):
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


def test_where_all_faces_are_invalid_nobody_has_marked_the_others(tmp_path: Path) -> None:
    """Not an image without faces, in which finding one would be wrong."""
    path = tmp_path / "wider_face_train_bbx_gt.txt"
    path.write_text(
        "a/b.jpg\n2\n1 2 30 40 0 0 0 1 0 0\n5 6 7 8 0 0 0 1 0 0\na/c.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    unknown, empty = read(path)
    assert unknown.boxes is None
    assert empty.boxes is not None
    assert empty.boxes.shape == (0, 4)


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


@pytest.mark.parametrize(
    ("name", "text"),
    [("list.jsonl", '{"image": "a.jpg", "boxes": []}\n'), ("list.txt", "a.jpg\n0\n0 0 0 0\n")],
)
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    assert [each.name for each in read(path)] == ["a.jpg"]


def test_a_picture_is_what_the_service_makes_of_it_or_is_refused(shared: Path) -> None:
    """All hostile files: odd modes, orientations, transparency, and what only says it is one."""
    agreed = refused = 0
    for path in sorted(path for path in (shared / "hostile").rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            served = images.decode(data, max_pixels=4_000_000, background=dataset.MEAN_RGB)
        except RequestError:
            served = None
        try:
            with opened(path) as image:
                if image.width * image.height > 4_000_000:
                    continue
                size = upright_size(image)
                picture = upright(image)
        except DatasetError:
            refused += 1
            continue
        assert picture.mode == "RGB"
        assert picture.size == size
        if served is not None:
            assert np.array_equal(np.asarray(picture), np.asarray(served)), path
            agreed += 1
    assert agreed > 300
    assert refused > 50


def test_transparency_lies_on_the_colour_that_the_networks_see_as_zero(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    with opened(tmp_path / "clear.png") as image:
        assert upright(image).getcolors() == [(12, dataset.MEAN_RGB)]


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(dataset, "MOST_PIXELS", 1199)
    with pytest.raises(DatasetError, match="has 40 x 30 pixels"), opened(tmp_path / "large.png"):
        pass
