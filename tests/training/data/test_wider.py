"""WIDER FACE's ground truth, whole and damaged."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import wider
from training.data.wider import GroundTruthError


def test_the_annotation_text_ignores_invalid_faces(tmp_path: Path) -> None:
    text = tmp_path / "wider_face_val_bbx_gt.txt"
    text.write_text(
        "a/b.jpg\n2\n1 2 30 40 0 0 0 0 0 0 \n5 6 7 8 0 0 0 1 0 0 \n"
        "c/d.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n"
    )
    first, second = wider.read_text(text)
    assert first.name == "a/b"
    assert first.faces.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    assert first.counted["hard"].tolist() == [True, False]
    assert (second.name, len(second.faces)) == ("c/d", 0)


@pytest.mark.parametrize(
    "text",
    [
        "a/b.jpg\n",
        "a/b.jpg\nmany\n",
        "a/b.jpg\n1\n1 2 x 4\n",
        f"a/b.jpg\n1{'0' * 40}\n",
        "a/b.jpg\n-1\n1 2 3 4 0 0 0 0 0 0\n",
        # A file that was cut off: 4 rows of 10 numbers are also 5 of 8.
        "a/b.jpg\n5\n" + "1 2 3 4 0 0 0 0 0 0\n" * 4,
        "a/b.jpg\n1\n1 2 nan 4 0 0 0 0 0 0\n",
        "a/b.jpg\n1\n1 2 3 inf 0 0 0 0 0 0\n",
    ],
)
def test_malformed_annotation_text_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(GroundTruthError, match="near line 1"):
        wider.read_text(path)


def test_missing_mat_files_are_all_named(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy (extra evaluate)")
    with pytest.raises(GroundTruthError, match=r"wider_face_val\.mat.*wider_hard_val\.mat"):
        wider.read_mat(tmp_path)


@pytest.fixture
def ground_truth(tmp_path: Path) -> Path:
    """Four files of the official form: one event of one image with two faces."""
    scipy_io = pytest.importorskip("scipy.io", reason="reading .mat files needs SciPy")
    folder = tmp_path / "ground_truth"
    folder.mkdir()
    face = {
        "event_list": cell("0--Parade"),
        "file_list": cell(cell("a")),
        "face_bbx_list": cell(cell(np.asarray([[1.0, 2, 3, 4], [5, 6, 7, 8]]))),
    }
    scipy_io.savemat(folder / "wider_face_val.mat", face, do_compression=True)
    for number, subset in enumerate(wider.SUBSETS):
        kept = cell(cell(np.arange(1.0, number + 1)[:, None]))
        scipy_io.savemat(folder / f"wider_{subset}_val.mat", {"gt_list": kept}, do_compression=True)
    return folder


def cell(content: object) -> NDArray[np.object_]:
    """A MATLAB cell array [1, 1]."""
    array = np.empty((1, 1), np.object_)
    array[0, 0] = content
    return array


def refusal(folder: Path) -> str:
    """What read_mat says of a folder that it refuses, in one line."""
    with pytest.raises(GroundTruthError) as caught:
        wider.read_mat(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mat_files_say_which_faces_each_subset_counts(ground_truth: Path) -> None:
    (image,) = wider.read_mat(ground_truth)
    assert image.name == "0--Parade/a"
    assert image.faces.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    counted = {name: mask.tolist() for name, mask in image.counted.items()}
    assert counted == {"easy": [False, False], "medium": [True, False], "hard": [True, True]}


def test_a_truncated_mat_file_is_named_at_any_length(ground_truth: Path) -> None:
    path = ground_truth / "wider_hard_val.mat"
    whole = path.read_bytes()
    assert len(whole) > 150
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(ground_truth), length


def test_a_truncated_official_file_is_named(shared: Path, ground_truth: Path) -> None:
    whole = (shared / "faces/wider/ground_truth/wider_face_val.mat").read_bytes()
    path = ground_truth / "wider_face_val.mat"
    for length in (1, 127, 200, 5_000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(ground_truth), length


HDF5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read as a .mat file"),
        (b"<html><p>Quota exceeded</p></html>" * 20, "can't be read as a .mat file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "can't be read as a .mat file"),
        (HDF5 + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(500), "MATLAB 7.3 .* save it with -v7"),
    ],
)
def test_a_file_that_is_not_a_mat_file_is_named(
    ground_truth: Path, content: bytes, says: str
) -> None:
    path = ground_truth / "wider_easy_val.mat"
    path.write_bytes(content)
    assert re.search(f"{re.escape(str(path))}: .*{says}", refusal(ground_truth))


def test_a_corrupt_mat_file_is_named(ground_truth: Path) -> None:
    path = ground_truth / "wider_face_val.mat"
    content = bytearray(path.read_bytes())
    # In the checksum at the end of the last compressed variable.
    content[-1] ^= 0xFF
    path.write_bytes(content)
    assert "can't be read as a .mat file" in refusal(ground_truth)


def test_a_mat_file_without_its_variables_says_which(ground_truth: Path) -> None:
    shutil.copy(ground_truth / "wider_hard_val.mat", ground_truth / "wider_face_val.mat")
    said = refusal(ground_truth)
    assert "wider_face_val.mat: has no event_list, file_list, face_bbx_list" in said


@pytest.mark.parametrize(
    "value",
    [np.eye(3), "text", 7.0, np.empty((0, 0), np.object_)],
    ids=["matrix", "text", "number", "empty"],
)
@pytest.mark.parametrize("variable", ["event_list", "file_list", "face_bbx_list", "gt_list"])
def test_malformed_variables_are_refused(ground_truth: Path, variable: str, value: object) -> None:
    replace(ground_truth, variable, value)
    assert re.search(r"are not WIDER FACE's|name no images", refusal(ground_truth))


@pytest.mark.parametrize(
    ("variable", "numbers"),
    [
        ("gt_list", [[99.0]]),
        ("gt_list", [[0.0]]),
        ("gt_list", [[-1.0]]),
        ("gt_list", [[1.5]]),
        ("face_bbx_list", [[1.0, 2, 3]]),
        ("face_bbx_list", [[1.0, 2, 3, 4, 5]] * 4),
        ("face_bbx_list", [[1.0, 2, 3, float("nan")]] * 4),
    ],
)
def test_numbers_that_are_no_faces_are_refused(
    ground_truth: Path, variable: str, numbers: list[list[float]]
) -> None:
    replace(ground_truth, variable, cell(cell(np.asarray(numbers))))
    assert "are not WIDER FACE's ground truth" in refusal(ground_truth)


def replace(folder: Path, variable: str, value: object) -> None:
    """Put another value into the file that has the variable."""
    from scipy.io import loadmat, savemat

    path = folder / f"wider_{'hard' if variable == 'gt_list' else 'face'}_val.mat"
    content = {name: each for name, each in loadmat(path).items() if not name.startswith("__")}
    savemat(path, {**content, variable: value})


def test_the_official_files_hold_what_their_authors_publish(shared: Path) -> None:
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy (extra evaluate)")
    annotations = wider.read_mat(shared / "faces/wider/ground_truth")
    assert len(annotations) == 3226
    counts = [
        sum(int(image.counted[name].sum()) for image in annotations) for name in wider.SUBSETS
    ]
    assert counts == [7211, 13319, 31958]
